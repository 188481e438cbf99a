# Writes OUTPUT, a source file with what --version says: VERSION, and the commit that SOURCE is at where it is a
# checkout. A file that would stay the same is not touched, so that nothing is linked again.
set(text ${VERSION})
set(commit "")
find_program(GIT git)
if(GIT AND EXISTS ${SOURCE}/.git)
  execute_process(COMMAND ${GIT} -C ${SOURCE} describe --always --dirty --tags
    OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(commit)
    string(APPEND text " (${commit})")
  endif()
endif()
file(WRITE ${OUTPUT}.new "#include \"apps/version.h\"\n
namespace emberq {
std::string_view version() { return \"${text}\"; }
std::string_view release() { return \"${VERSION}\"; }
std::string_view commit() { return \"${commit}\"; }
}  // namespace emberq\n")
file(COPY_FILE ${OUTPUT}.new ${OUTPUT} ONLY_IF_DIFFERENT)

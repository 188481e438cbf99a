# cmake -DINPUT=page.html -DOUTPUT=page.cpp -DHEADER=report/template.h -DFUNCTION=page_template -P embed.cmake
#
# Writes a source file with a function that returns the bytes of a text file. Bytes, not a string
# literal: those have a length limit, and a delimiter that the text must not hold.
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"${HEADER}\"

namespace emberq {
namespace {

constexpr unsigned char kBytes[] = {
${bytes}};

}  // namespace

std::string_view ${FUNCTION}() {
  return {reinterpret_cast<const char*>(kBytes), sizeof kBytes};
}

}  // namespace emberq
")

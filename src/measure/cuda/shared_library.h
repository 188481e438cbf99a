#pragma once

#include <dlfcn.h>

#include <string>

namespace emberq::cuda {

// A library that the program does not link to, so that it starts where there is none. It is never
// unloaded: what it has started on a device ends with the process.
class SharedLibrary {
 public:
  // False where `file`, a path or a name for the loader to find, does not open; then why_not() says
  // why.
  bool open(const std::string& file) {
    library_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library_) {
      const char* error = dlerror();
      why_not_ = error ? error : file + " does not open";
    }
    return library_ != nullptr;
  }
  const std::string& why_not() const { return why_not_; }

  // Whether there is a function of this name, which then is `to`.
  template <class Function>
  bool find(const char* name, Function*& to) const {
    to = library_ ? reinterpret_cast<Function*>(dlsym(library_, name)) : nullptr;
    return to != nullptr;
  }

 private:
  void* library_ = nullptr;
  std::string why_not_;
};

}  // namespace emberq::cuda

#pragma once

#include <dlfcn.h>

#include <string>

namespace emberq::cuda {

// A library that the program does not link to, so that the program starts without it. It is never
// unloaded, since its work on a device ends with the process.
class SharedLibrary {
 public:
  // Opens `file`, a path or a name in the loader's search path. If false, why_not() says why.
  bool open(const std::string& file) {
    library_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library_) {
      const char* error = dlerror();
      why_not_ = error ? error : file + " does not open";
    }
    return library_ != nullptr;
  }
  const std::string& why_not() const { return why_not_; }

  // Finds a function by name and writes it to `to`; false if there is none.
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

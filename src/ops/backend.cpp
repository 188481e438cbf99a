#include "ops/backend.h"

#include "base/check.h"

namespace emberq {

void Backend::refuse(std::string_view operation) const {
  throw Error(fmt::format("the {} backend has no {} operation", name(), operation));
}

}  // namespace emberq

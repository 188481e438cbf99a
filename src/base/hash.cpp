#include "base/hash.h"

#include <fmt/format.h>

namespace emberq {

std::string Hash::hex() const { return fmt::format("{:016x}", state_); }

}  // namespace emberq

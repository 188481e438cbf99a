#pragma once

#include <cstring>
#include <string>

#include "support/refusal.h"
#include "support/test_folder.h"

namespace emberq {

// A .safetensors file with this header, for what no writer would write.
inline std::string safetensors_bytes(std::string_view header, size_t data_bytes = 0) {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + std::string(header) + std::string(data_bytes, '\0');
}

}  // namespace emberq

#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace emberq {

// Element types of tensors in files and memory.
enum class DType { kF64, kF32, kF16, kBF16, kF8E4M3, kI64, kI32, kI16, kI8, kU8, kBool };

struct DTypeInfo {
  DType type;
  std::string_view name;  // safetensors' tag
  size_t bytes;
};

inline constexpr std::array kDTypes = {
    DTypeInfo{DType::kF64, "F64", 8},        DTypeInfo{DType::kF32, "F32", 4},
    DTypeInfo{DType::kF16, "F16", 2},        DTypeInfo{DType::kBF16, "BF16", 2},
    DTypeInfo{DType::kF8E4M3, "F8_E4M3", 1}, DTypeInfo{DType::kI64, "I64", 8},
    DTypeInfo{DType::kI32, "I32", 4},        DTypeInfo{DType::kI16, "I16", 2},
    DTypeInfo{DType::kI8, "I8", 1},          DTypeInfo{DType::kU8, "U8", 1},
    DTypeInfo{DType::kBool, "BOOL", 1},
};

constexpr const DTypeInfo& info(DType type) { return kDTypes[size_t(type)]; }
constexpr std::string_view name(DType type) { return info(type).name; }
constexpr size_t size_bytes(DType type) { return info(type).bytes; }

constexpr std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeInfo& d : kDTypes)
    if (d.name == name) return d.type;
  return std::nullopt;
}

consteval bool dtypes_are_in_order() {
  for (size_t i = 0; i < kDTypes.size(); ++i)
    if (size_t(kDTypes[i].type) != i) return false;
  return true;
}
static_assert(dtypes_are_in_order());

}  // namespace emberq

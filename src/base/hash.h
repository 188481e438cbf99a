#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace emberq {

// FNV-1a of 64 bits, http://www.isthe.com/chongo/tech/comp/fnv/: tells contents apart that differ
// by accident, not by intent.
class Hash {
 public:
  void add(std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) state_ = (state_ ^ uint64_t(byte)) * 0x100000001b3;
  }
  void add(uint64_t value) { add(std::as_bytes(std::span(&value, 1))); }
  // With its length before it, so that two strings are not taken for another two.
  void add(std::string_view text) {
    add(uint64_t(text.size()));
    add(std::as_bytes(std::span(text)));
  }
  uint64_t value() const { return state_; }
  std::string hex() const;  // 16 digits

 private:
  uint64_t state_ = 0xcbf29ce484222325;
};

}  // namespace emberq

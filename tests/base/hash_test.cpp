#include "base/hash.h"

#include <gtest/gtest.h>

namespace emberq::hash_test {
namespace {

std::string hash_of(std::string_view bytes) {
  Hash hash;
  hash.add(std::as_bytes(std::span(bytes)));
  return hash.hex();
}

// The test vectors of draft-eastlake-fnv, appendix C.
TEST(Hash, IsFnv1aOf64Bits) {
  EXPECT_EQ(hash_of(""), "cbf29ce484222325");
  EXPECT_EQ(hash_of("a"), "af63dc4c8601ec8c");
  EXPECT_EQ(hash_of("foobar"), "85944171f73967e8");
}

TEST(Hash, TellsTheSameTextInOtherPiecesApart) {
  Hash a, b;
  a.add(std::string_view("ab")), a.add(std::string_view("c"));
  b.add(std::string_view("a")), b.add(std::string_view("bc"));
  EXPECT_NE(a.value(), b.value());
}

}  // namespace
}  // namespace emberq::hash_test

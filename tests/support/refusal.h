#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace emberq {

// The sentence with which `act` refuses its input; "" where it does not.
template <class Act>
std::string refusal(const Act& act) {
  try {
    act();
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

// What any Error that `act` throws says; "" where it throws none.
template <class Act>
std::string error_of(const Act& act) {
  try {
    act();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

inline ::testing::AssertionResult contains(const std::string& text, const std::string& part) {
  if (text.find(part) != text.npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << '"' << text << "\" does not contain \"" << part << '"';
}

// Fails unless `act` is refused with a sentence that says all of `parts`.
#define EXPECT_REFUSED(act, ...)                                             \
  do {                                                                       \
    const std::string said = ::emberq::refusal([&] { (void)(act); });        \
    for (const auto& part : std::initializer_list<std::string>{__VA_ARGS__}) \
      EXPECT_TRUE(::emberq::contains(said, part));                           \
  } while (false)

}  // namespace emberq

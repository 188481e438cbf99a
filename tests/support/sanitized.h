#pragma once

#include <vector>

namespace emberq::test {

// Suites whose names end in Sanitized run under the tools of compute-sanitizer too, on a GPU
// (tools/gpu_bundle.sh). They are small cases that reach every kernel and every edge.
//
//   INSTANTIATE_TEST_SUITE_P(ShapesSanitized, LinearTest, ValuesIn(where(cases(), sanitized)), ...)
//   INSTANTIATE_TEST_SUITE_P(Shapes, LinearTest, ValuesIn(where_not(cases(), sanitized)), ...)
template <class Case, class Predicate>
std::vector<Case> where(std::vector<Case> cases, const Predicate& predicate) {
  std::erase_if(cases, [&](const Case& c) { return !predicate(c); });
  return cases;
}
template <class Case, class Predicate>
std::vector<Case> where_not(std::vector<Case> cases, const Predicate& predicate) {
  std::erase_if(cases, predicate);
  return cases;
}

}  // namespace emberq::test

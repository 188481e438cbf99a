#pragma once

#include <gtest/gtest.h>

#include "base/file.h"

namespace emberq::test {

// Test models and data that are too large, or not ours, to be in the tree.
inline fs::path shared_folder() { return fs::path(EMBERQ_SOURCE_DIR).parent_path() / "shared"; }
inline fs::path source_folder() { return EMBERQ_SOURCE_DIR; }

}  // namespace emberq::test

// Skips the test, naming what it lacks, where ../shared/PATH is absent.
#define EMBERQ_NEEDS_SHARED(path)                                      \
  if (!::emberq::fs::exists(::emberq::test::shared_folder() / (path))) \
  GTEST_SKIP() << "needs ../shared/" << (path)

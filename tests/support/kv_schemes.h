#pragma once

#include <vector>

#include "format/scheme.h"

namespace emberq::test {

// All that a KV cache can store.
inline std::vector<KvScheme> kv_schemes() {
  std::vector<KvScheme> schemes;
  for (const std::string_view name : kv_scheme_names())
    schemes.push_back(*kv_scheme_from_name(name));
  return schemes;
}
// Those with codes.
inline std::vector<KvScheme> coded_kv_schemes() {
  std::vector<KvScheme> schemes = kv_schemes();
  std::erase(schemes, KvScheme::kFp);
  return schemes;
}

}  // namespace emberq::test

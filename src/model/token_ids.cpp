#include "model/token_ids.h"

#include "base/check.h"

namespace emberq {

void require_in_vocabulary(std::span<const int> ids, int64_t vocab_size, std::string_view text,
                           int64_t first) {
  for (size_t i = 0; i < ids.size(); ++i)
    EMBERQ_REQUIRE(ids[i] >= 0 && ids[i] < vocab_size,
                   "the token at position {} of {} has the id {}, which is outside the model's "
                   "vocabulary (vocab_size {})",
                   first + int64_t(i), text, ids[i], vocab_size);
}

}  // namespace emberq

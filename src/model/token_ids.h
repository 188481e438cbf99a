#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace emberq {

// InputError where an id is none of the vocabulary's, [0, vocab_size). `text` names what the ids
// are of ("the prompt"), `first` is the position of the first of them in it.
void require_in_vocabulary(std::span<const int> ids, int64_t vocab_size, std::string_view text,
                           int64_t first = 0);

}  // namespace emberq

#pragma once

#include "base/file.h"
#include "base/json_fwd.h"

// What an output folder takes over from the folder it was made from. The folder itself is an
// OutputDirectory of the caller's.
namespace emberq {

// Copies the tokenizer, the generation config, the chat template and the licence. The model card
// stays: it describes another model. InputError where one of them cannot be read.
void copy_companion_files(const fs::path& from, const fs::path& to);

// config.json as in `from`, keys in their order, with each key of `changes` set
// (quantization_config above all).
void write_config(const fs::path& from, const fs::path& to, const OrderedJson& changes);

}  // namespace emberq

#pragma once

#include <functional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "quant/block_quantizer.h"

namespace emberq {

// A model folder while it is written: OUT.partial with a shard for each block, which appears whole,
// and one more for the rest, so that what is finished stays when the program does not.
//
//   model-0000i-of-0000N.safetensors  block i - 1; the last is the rest
//   block-0000i.json                  the block's part of emberq.json, written before its shard
//   quantize.json                     what is being done; resuming must be told the same
class ModelFiles {
 public:
  ModelFiles(const Checkpoint& original, const fs::path& folder, const Recipe& recipe,
             const Plan& plan, int64_t down_hadamard);

  // Of a folder that was left: the blocks in it, from the first on. InputError where `about` is not
  // what it was made with. On an empty folder: notes `about`.
  int64_t resume(const OrderedJson& about);
  // The finished blocks as a model's: nothing else is there.
  Checkpoint finished() const;

  void write_block(int64_t layer, const QuantizedBlock& block);
  // The rest, and the files around the weights: a folder to be renamed.
  void finish(const BlockQuantizer& quantizer);

  double bits_per_weight() const;  // of the blocks' linears, scales included; after finish()
  std::vector<std::string> per_tensor_scaled() const;

 private:
  fs::path shard(int64_t index) const;
  fs::path block_file(int64_t layer) const;
  void write_shard(int64_t index, const std::function<void(SafetensorsWriter&)>& fill) const;
  void write_index(int64_t shards) const;
  void write_around(bool untied) const;
  SideFile side_file() const;

  const Checkpoint& original_;
  fs::path folder_;
  const Recipe& recipe_;
  const Plan& plan_;
  int64_t down_hadamard_;
  std::vector<SideFile> blocks_;  // each block's part
};

}  // namespace emberq

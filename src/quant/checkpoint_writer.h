#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/shard_writer.h"
#include "quant/layer_quantizer.h"
#include "quant/run_notes.h"

namespace emberq {

// A model folder while it is written: OUT.partial with a shard for each block, which appears whole,
// and one more for the rest, so that what is finished stays when the program does not.
//
//   model-0000i-of-0000N.safetensors  block i - 1; the last is the rest
//   …safetensors.partial              a shard that is being written, or that a run left half
//                                     written: the run that goes on writes it again
//   quantize.json                     RunNotes: what is being done, and what is finished
class CheckpointWriter {
 public:
  // Finished blocks that `notes` name are there. InputError where they are not.
  CheckpointWriter(const Checkpoint& original, const fs::path& folder, const Recipe& recipe,
                   const Plan& plan, int64_t down_hadamard, RunNotes& notes);

  int64_t finished_blocks() const { return int64_t(notes_.blocks().size()); }
  // They alone, as a model's.
  Checkpoint finished() const;

  void write_block(int64_t layer, const QuantizedBlock& block);
  // The rest, and the files around the weights: a folder that is whole, and to be renamed. It is
  // returned as a reader sees it.
  Checkpoint finish(const LayerQuantizer& quantizer);

  std::vector<std::string> global_scaled() const;

 private:
  fs::path shard(int64_t index) const;
  void write_shard(int64_t index, size_t header_bytes,
                   const std::function<void(ShardWriter&)>& fill) const;
  void write_rest(const LayerQuantizer& quantizer) const;
  void index_shards(int64_t count) const;  // the first ones
  void write_around(bool untied) const;
  EmberqConfig emberq_config() const;

  const Checkpoint& original_;
  fs::path folder_;
  const Recipe& recipe_;
  const Plan& plan_;
  int64_t down_hadamard_;
  RunNotes& notes_;
};

}  // namespace emberq

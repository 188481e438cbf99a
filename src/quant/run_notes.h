#pragma once

#include <vector>

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "quant/calibration/calibration.h"
#include "quant/recipe/recipe.h"

namespace emberq {

// What a resumed run must have in common with the one that it continues: the recipe and, by what is
// in them and not by where they are,
//
//   config    config.json
//   files     each of the weights' files: its size and when it was written
//   weights   name, type and shape of every tensor, and its bytes: all of them up to 64 KiB, of a
//             larger one 16 pieces of 4 KiB at even distances, from its first bytes to its last
//   texts     the calibration texts, whole
//   tokens    the windows' token ids, and so the tokenizer
//
// Reading all of a large model would take as long as quantizing it without calibration.
OrderedJson run_identity(const Checkpoint& original, const Recipe& recipe,
                         const std::vector<fs::path>& texts, const CalibrationWindows& windows);

// quantize.json in OUT.partial, from the start of a run to its end: its identity, and of each
// finished block, from the first on, its part of emberq.json. A folder that is whole must lose it
// before it is renamed, and a run that ends between the two must not: it is OUT.partial.json then.
class RunNotes {
 public:
  // Begins them in a folder that is empty, goes on with those that are there. InputError where they
  // are of a run that is not the same, and says in what; or where the folder holds anything else.
  RunNotes(const fs::path& folder, const OrderedJson& identity, const std::vector<fs::path>& texts);

  const std::vector<EmberqConfig>& blocks() const { return blocks_; }
  void add(EmberqConfig block);  // its weights are on the disk
  void put_aside();              // the folder is whole
  void remove();                 // it has been renamed

 private:
  void write() const;
  void begin();
  void go_on(const std::vector<fs::path>& texts);

  fs::path folder_, path_, aside_;
  OrderedJson identity_;
  std::vector<EmberqConfig> blocks_;
};

// Whether OUT.partial is what a run left to go on with.
bool has_run_notes(const fs::path& partial);

}  // namespace emberq

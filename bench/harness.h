#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ops/backend.h"

namespace emberq::bench {

// One line of a table.
struct Measurement {
  std::string operation, variant, shape;
  Cost cost;
  double seconds = 0;  // of a call: the median over the batches
  double spread = 0;   // of the batches: (slowest - fastest) / median
};

// Times calls on a backend. Calls follow one another without a pause, and without what it costs to
// start them (Backend::time); their operands rotate through more memory than any cache holds, but
// for calls so small that a whole batch of them is held by one.
class Harness {
 public:
  explicit Harness(Backend& backend);  // measures what a copy moves, for the roof

  Backend& backend() { return *backend_; }
  // Random activations of the backend's own type, at a place in memory that moves on with the call.
  Activations rotating(int call, int64_t rows, int64_t dim) const;

  // call(i) for i = 0, 1, 2, ... runs the operation once, on operands that it picks by i.
  void measure(const std::string& operation, const std::string& variant, const std::string& shape,
               const Cost& cost, const std::function<void(int)>& call);

  std::string table() const;
  std::string json() const;  // a line for each measurement

 private:
  double share_of_roof(const Measurement& m) const;

  Backend* backend_;
  Buffer operands_;
  double bytes_per_second_ = 0;  // of a copy, reads and writes counted
  std::vector<Measurement> measurements_;
};

}  // namespace emberq::bench

#include "eval/divergence.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

#include "base/check.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "eval/log_probability.h"
#include "model/logit_rows.h"
#include "model/token_ids.h"

namespace emberq {
namespace {

// Of one position: A is the reference.
struct RowDivergence {
  double kl = 0, nll_a = 0, nll_b = 0;
  bool top1_agreement = false;
};

// With x = a - max a, y = b - max b: KL = sum e^x (x - y) / sum e^x - log sum e^x + log sum e^y.
RowDivergence compare(std::span<const float> a, std::span<const float> b, int target) {
  const size_t top_a = size_t(top_id(a)), top_b = size_t(top_id(b));
  const double max_a = a[top_a], max_b = b[top_b];
  double sum_a = 0, sum_b = 0, weighted = 0;
  for (size_t c = 0; c < a.size(); ++c) {
    const double x = double(a[c]) - max_a, y = double(b[c]) - max_b, weight = std::exp(x);
    sum_a += weight;
    sum_b += std::exp(y);
    if (weight > 0) weighted += weight * (x - y);
  }
  const double kl = weighted / sum_a - std::log(sum_a) + std::log(sum_b);
  return {.kl = kl < 0 ? 0 : kl,  // by rounding alone; a NaN stays
          .nll_a = std::log(sum_a) + max_a - double(a[size_t(target)]),
          .nll_b = std::log(sum_b) + max_b - double(b[size_t(target)]),
          .top1_agreement = top_a == top_b};
}

std::span<const float> row_of(const Matrix<const float>& matrix, int64_t row) {
  return {matrix.row(row), size_t(matrix.cols)};
}

void require_same_vocabulary(int64_t reference, int64_t model) {
  EMBERQ_REQUIRE(reference == model,
                 "the models have different vocabularies: the reference {} tokens, the other {}",
                 reference, model);
}

// A model's logits in one window after another.
class WindowLogits {
 public:
  WindowLogits(Model& model, int64_t window)
      : model_(&model),
        pool_(model.make_pool(window)),
        sequence_(pool_),
        logits_(model, std::min(kLogitRows, window - 1)) {}

  void run(std::span<const int> ids) {
    sequence_.truncate(0);
    hidden_ = model_->forward(ids, sequence_);
  }
  // Of the window that was run; valid until the next call.
  Matrix<const float> rows(int64_t first, int64_t count) {
    return logits_.on_host(hidden_.slice(first, count));
  }

 private:
  Model* model_;
  KvPool pool_;
  KvSequence sequence_;
  LogitRows logits_;
  Activations hidden_;
};

// Rows [first, first + count) of the reference's logits in a window; asked for in order.
using ReferenceRows =
    std::function<Matrix<const float>(int64_t window, int64_t first, int64_t count)>;

// Positions, as they are added up.
class Summary {
 public:
  // Logits of some positions, and the tokens that follow these.
  void add(Matrix<const float> a, Matrix<const float> b, std::span<const int> targets) {
    std::vector<RowDivergence> rows(targets.size());
    parallel_for(0, int64_t(rows.size()), [&](int64_t r) {
      rows[size_t(r)] = compare(row_of(a, r), row_of(b, r), targets[size_t(r)]);
    });
    for (const RowDivergence& row : rows) {
      EMBERQ_CHECK(std::isfinite(row.kl + row.nll_a + row.nll_b),
                   "the models' logits at predicted position {} are not finite", kl_.size());
      kl_.push_back(row.kl);
      sum_ += row.kl;
      nll_a_ += row.nll_a;
      nll_b_ += row.nll_b;
      same_top_ += row.top1_agreement;
    }
  }

  double mean() const { return sum_ / double(kl_.size()); }

  Divergence result() {
    std::sort(kl_.begin(), kl_.end());
    const size_t count = kl_.size(), rank = (99 * count + 99) / 100;  // rounded up
    return {.kl = mean(),
            .kl_p99 = kl_[rank - 1],
            .kl_max = kl_.back(),
            .top1_agreement = double(same_top_) / double(count),
            .reference_ppl = std::exp(nll_a_ / double(count)),
            .ppl = std::exp(nll_b_ / double(count)),
            .predicted_tokens = int64_t(count)};
  }

 private:
  std::vector<double> kl_;
  double sum_ = 0, nll_a_ = 0, nll_b_ = 0;
  int64_t same_top_ = 0;
};

Divergence compare_windows(const ReferenceRows& reference, Model& model, std::span<const int> ids,
                           int64_t window, int64_t windows, std::string_view label) {
  const auto start = std::chrono::steady_clock::now();
  const int64_t predicted = window - 1;
  WindowLogits logits(model, window);
  Summary summary;
  Progress progress(label, windows);
  for (int64_t w = 0; w < windows; ++w) {
    const auto tokens = ids.subspan(size_t(w * window), size_t(window));
    logits.run(tokens);
    for (int64_t first = 0; first < predicted; first += kLogitRows) {
      const int64_t rows = std::min(kLogitRows, predicted - first);
      summary.add(reference(w, first, rows), logits.rows(first, rows),
                  tokens.subspan(size_t(first + 1), size_t(rows)));
    }
    progress.step(fmt::format("KL {:.5f}", summary.mean()));
  }
  Divergence result = summary.result();
  result.windows = windows;
  result.seq_len = window;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace

std::vector<double> kl_divergence(Matrix<const float> reference, Matrix<const float> logits) {
  EMBERQ_CHECK(reference.rows == logits.rows && reference.cols == logits.cols && logits.cols > 0,
               "KL of logits [{}, {}] from [{}, {}]", logits.rows, logits.cols, reference.rows,
               reference.cols);
  std::vector<double> kl(static_cast<size_t>(logits.rows));
  parallel_for(0, logits.rows, [&](int64_t r) {
    kl[size_t(r)] = compare(row_of(reference, r), row_of(logits, r), 0).kl;
  });
  return kl;
}

Divergence divergence(Model& reference, Model& model, std::span<const int> ids,
                      const PerplexityOptions& options) {
  require_same_vocabulary(reference.config().vocab_size, model.config().vocab_size);
  const int64_t window = options.window, windows = count_windows(reference.config(), ids, options);
  count_windows(model.config(), ids, options);  // refuses what the other model cannot run
  require_in_vocabulary(ids.first(size_t(windows * window)), reference.config().vocab_size,
                        "the text");
  WindowLogits logits(reference, window);
  const auto rows = [&](int64_t w, int64_t first, int64_t count) {
    if (first == 0) logits.run(ids.subspan(size_t(w * window), size_t(window)));
    return logits.rows(first, count);
  };
  return compare_windows(rows, model, ids, window, windows, "compare");
}

ReferenceLogits reference_logits(Model& reference, std::span<const int> ids,
                                 const PerplexityOptions& options) {
  const int64_t window = options.window, predicted = window - 1;
  const int64_t windows = count_windows(reference.config(), ids, options);
  const auto whole = ids.first(size_t(windows * window));
  require_in_vocabulary(whole, reference.config().vocab_size, "the text");
  ReferenceLogits result{.ids = {whole.begin(), whole.end()},
                         .window = window,
                         .vocab = reference.config().vocab_size};
  result.logits.reserve(size_t(windows * predicted * result.vocab));
  WindowLogits logits(reference, window);
  for (int64_t w = 0; w < windows; ++w) {
    logits.run(whole.subspan(size_t(w * window), size_t(window)));
    for (int64_t first = 0; first < predicted; first += kLogitRows) {
      const auto rows = logits.rows(first, std::min(kLogitRows, predicted - first));
      result.logits.insert(result.logits.end(), rows.data, rows.data + rows.size());
    }
  }
  return result;
}

Divergence divergence(const ReferenceLogits& reference, Model& model, std::string_view label) {
  require_same_vocabulary(reference.vocab, model.config().vocab_size);
  const int64_t window = reference.window, predicted = window - 1;
  const int64_t windows = count_windows(model.config(), reference.ids, {.window = window});
  const Matrix<const float> all{reference.logits.data(), windows * predicted, reference.vocab};
  const auto rows = [&](int64_t w, int64_t first, int64_t count) {
    return Matrix<const float>{all.row(w * predicted + first), count, reference.vocab};
  };
  return compare_windows(rows, model, reference.ids, window, windows, label);
}

}  // namespace emberq

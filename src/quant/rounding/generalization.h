#pragma once

#include <cstdint>
#include <span>
#include <vector>

// How far sums over a calibration text hold for other text. Matrices are row-major.
namespace emberq {

// The weight α, 0 ... 1, of the mean diagonal m in the estimate (1 - α) G + α m I of the second
// moments G = sum x x^T [k, k] that is nearest in the mean square to those of the text's source
// (Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004):
//
//   α = (mean of |x x^T - S|^2) / (distinct - 1) / |S - m I|^2,   S = G / tokens
//
// with `fourth_powers` = sum |x|^4. They divide by the number of independent samples; less one, for
// S was made of them. A token that comes again brings little new, and to the first block nothing,
// so `distinct` counts the different ones. 1 for a single one, and for inputs that are always zero.
double gram_shrinkage(const std::vector<double>& gram, double fourth_powers, int64_t tokens,
                      int64_t distinct, int64_t k);

// Sums over the tokens of a half: of inputs x, and of what a linear's outputs lack, e.
struct Lacking {
  std::span<const double> gram;   // [k, k] x x^T
  std::span<const double> cross;  // [n, k] e x^T
};

// The share c of the correction D = (sum e x^T) (sum x x^T + λ I)^-1 of a linear [n, k] that brings
// sum |e - c D x|^2 down most on other text, 0 ... 1. D fitted on either half predicts the other;
// the share r that predicts best becomes 2 r / (1 + r) for a D of both (Spearman, Brown, 1910). λ
// is `damping` of the mean diagonal. 1 from 0.9 on: the rest would save (1 - c)^2, 1 %, of what the
// correction moves, less than what rounding moves by chance. 0 where a half has no tokens.
double correction_share(const Lacking& a, const Lacking& b, int64_t n, int64_t k, double damping);

}  // namespace emberq

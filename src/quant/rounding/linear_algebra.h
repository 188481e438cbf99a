#pragma once

#include <cstdint>
#include <vector>

// The dense algebra of calibration, all row-major.
namespace emberq {

// gram [k, k] += x^T x for x [rows, k]: products and sums of one call in float, the sum over calls
// in double.
void add_gram(const float* x, int64_t rows, int64_t k, std::vector<double>& gram);

// cross [n, k] += a^T b for a [rows, n] and b [rows, k], with the roundings of add_gram().
void add_cross(const float* a, int64_t n, const float* b, int64_t k, int64_t rows,
               std::vector<double>& cross);

// c [m, n] = a [m, k] b [k, n]
std::vector<double> product(const double* a, const double* b, int64_t m, int64_t n, int64_t k);

// gram [k, k] and `damping` of its mean diagonal on the diagonal; of zeros the identity times that.
std::vector<double> damped(std::vector<double> gram, int64_t k, double damping);

// The upper triangle U of a positive definite matrix's inverse, H^-1 = U^T U; its lower part is
// zero. Error where H is not positive definite.
std::vector<double> cholesky_of_inverse(std::vector<double> h, int64_t n);

// b [m, n] H^-1 for a positive definite H [n, n].
std::vector<double> solve_right(std::vector<double> b, std::vector<double> h, int64_t m, int64_t n);

// x with A x = b for a small positive definite A [n, n], in place of b; false where it is not.
bool solve_small(std::vector<double>& a, std::vector<double>& b);

// |a - b| / |a| over all the parts of a and b that are added.
class RelativeError {
 public:
  void add(const std::vector<float>& a, const std::vector<float>& b);
  void add(const RelativeError& other);
  double value() const;

 private:
  double error_ = 0, power_ = 0;
};

}  // namespace emberq

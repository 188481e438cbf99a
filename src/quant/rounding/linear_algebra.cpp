#include "quant/rounding/linear_algebra.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/openblas.h"
#include "base/parallel.h"

// LAPACK in OpenBLAS, column-major: its "upper" is our lower triangle.
extern "C" {
void dpotrf_(const char* uplo, const int* n, double* a, const int* lda, int* info);
void dpotri_(const char* uplo, const int* n, double* a, const int* lda, int* info);
void dpotrs_(const char* uplo, const int* n, const int* columns, const double* a, const int* lda,
             double* b, const int* ldb, int* info);
}

namespace emberq {
namespace {

constexpr int64_t kRows = 16;  // that share the cache lines of a column

// to[i, j] += from(i, j)
template <class From>
void add(int64_t rows, int64_t columns, std::vector<double>& to, const From& from) {
  to.resize(size_t(rows * columns));
  parallel_for(0, (rows + kRows - 1) / kRows, [&](int64_t block) {
    for (int64_t i = block * kRows; i < std::min(rows, (block + 1) * kRows); ++i)
      for (int64_t j = 0; j < columns; ++j) to[size_t(i * columns + j)] += double(from(i, j));
  });
}

// H = L L^T; L in our lower triangle.
void factor(std::vector<double>& h, int64_t n) {
  const int size = int(n);
  int info = 0;
  prepare_openblas();
  dpotrf_("U", &size, h.data(), &size, &info);
  EMBERQ_CHECK(info == 0, "a matrix of {} x {} is not positive definite at row {}", n, n, info);
}

}  // namespace

void add_gram(const float* x, int64_t rows, int64_t k, std::vector<double>& gram) {
  thread_local std::vector<float> sum;
  sum.resize(size_t(k * k));
  prepare_openblas();
  cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, int(k), int(rows), 1, x, int(k), 0, sum.data(),
              int(k));
  const float* upper = sum.data();
  add(k, k, gram, [&](int64_t i, int64_t j) { return upper[std::min(i, j) * k + std::max(i, j)]; });
}

void add_cross(const float* a, int64_t n, const float* b, int64_t k, int64_t rows,
               std::vector<double>& cross) {
  thread_local std::vector<float> sum;
  sum.resize(size_t(n * k));
  prepare_openblas();
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, int(n), int(k), int(rows), 1, a, int(n), b,
              int(k), 0, sum.data(), int(k));
  const float* all = sum.data();
  add(n, k, cross, [&](int64_t i, int64_t j) { return all[i * k + j]; });
}

std::vector<double> product(const double* a, const double* b, int64_t m, int64_t n, int64_t k) {
  std::vector<double> c(size_t(m * n));
  prepare_openblas();
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, int(m), int(n), int(k), 1, a, int(k), b,
              int(n), 0, c.data(), int(n));
  return c;
}

std::vector<double> damped(std::vector<double> gram, int64_t k, double damping) {
  double mean = 0;
  for (int64_t j = 0; j < k; ++j) mean += gram[size_t(j * k + j)] / double(k);
  if (mean == 0) mean = 1;
  for (int64_t j = 0; j < k; ++j) gram[size_t(j * k + j)] += damping * mean;
  return gram;
}

std::vector<double> cholesky_of_inverse(std::vector<double> h, int64_t n) {
  const int size = int(n);
  int info = 0;
  factor(h, n);
  dpotri_("U", &size, h.data(), &size, &info);  // the inverse, in our lower triangle
  EMBERQ_CHECK(info == 0, "the inverse of a matrix of {} x {} does not exist", n, n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) h[size_t(i * n + j)] = h[size_t(j * n + i)];
  // H^-1 = U^T U with U upper in our order, which is LAPACK's lower: H^-1 = L L^T, L = U^T.
  dpotrf_("L", &size, h.data(), &size, &info);
  EMBERQ_CHECK(info == 0, "the inverse of a matrix of {} x {} is not positive definite", n, n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < i; ++j) h[size_t(i * n + j)] = 0;
  return h;
}

std::vector<double> solve_right(std::vector<double> b, std::vector<double> h, int64_t m,
                                int64_t n) {
  const int size = int(n), rows = int(m);
  int info = 0;
  factor(h, n);
  // Our rows are LAPACK's columns: H is symmetric, so H x = b^T gives b H^-1.
  dpotrs_("U", &size, &rows, h.data(), &size, b.data(), &size, &info);
  EMBERQ_CHECK(info == 0, "dpotrs failed with {}", info);
  return b;
}

bool solve_small(std::vector<double>& a, std::vector<double>& b) {
  const size_t n = b.size();
  for (size_t j = 0; j < n; ++j) {  // a = L L^T
    for (size_t k = 0; k < j; ++k) a[j * n + j] -= a[j * n + k] * a[j * n + k];
    if (!(a[j * n + j] > 0)) return false;
    a[j * n + j] = std::sqrt(a[j * n + j]);
    for (size_t i = j + 1; i < n; ++i) {
      for (size_t k = 0; k < j; ++k) a[i * n + j] -= a[i * n + k] * a[j * n + k];
      a[i * n + j] /= a[j * n + j];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < i; ++k) b[i] -= a[i * n + k] * b[k];
    b[i] /= a[i * n + i];
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t k = i + 1; k < n; ++k) b[i] -= a[k * n + i] * b[k];
    b[i] /= a[i * n + i];
  }
  return true;
}

void RelativeError::add(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = double(a[i]), d = x - double(b[i]);
    error_ += d * d;
    power_ += x * x;
  }
}

void RelativeError::add(const RelativeError& other) {
  error_ += other.error_;
  power_ += other.power_;
}

double RelativeError::value() const { return std::sqrt(error_ / power_); }

}  // namespace emberq

#include "ops/cpu/sgemm.h"

#include <cblas.h>

#include "base/openblas.h"

namespace emberq::cpu {

void sgemm(const Sgemm& op) {
  prepare_openblas();
  cblas_sgemm(CblasRowMajor, CblasNoTrans, op.op_b == Op::kTranspose ? CblasTrans : CblasNoTrans,
              int(op.m), int(op.n), int(op.k), op.alpha, op.a, int(op.a_stride), op.b,
              int(op.b_stride), op.beta, op.c, int(op.c_stride));
}

}  // namespace emberq::cpu

#pragma once

namespace emberq {

// Has OpenBLAS choose its kernels by the processor that is there; called before each use of it.
void choose_openblas_kernels();

}  // namespace emberq

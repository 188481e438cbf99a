#pragma once

namespace emberq {

// Called before each use of OpenBLAS. The first call has it choose its kernels by the processor
// that is there, and take all the memory for buffers that it will ever need here: OpenBLAS 0.3.21
// asks for ever where there is none. InputError where there is too little.
void prepare_openblas();

}  // namespace emberq

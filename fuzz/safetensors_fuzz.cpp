// A whole .safetensors file: the header is refused in a sentence, or every tensor lies in the file.
#include <cstdlib>

#include "base/error.h"
#include "checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto file = std::as_bytes(std::span(data, size));
    const emberq::SafetensorsHeader header = emberq::parse_safetensors_header(file, "input");
    for (const emberq::TensorEntry& tensor : header.tensors) {
      if (header.data_begin + tensor.end > size) std::abort();
      if (!tensor.dtype) continue;
      const emberq::Tensor view(*tensor.dtype, tensor.shape, nullptr,
                                file.data() + header.data_begin + tensor.begin);
      if (view.bytes().size() != tensor.end - tensor.begin) std::abort();
    }
  } catch (const emberq::InputError&) {
  }
  return 0;
}

#pragma once

#include <optional>
#include <string>

#include "bench/meter.h"
#include "ops/cuda/cublaslt/shared_library.h"

namespace emberq::bench {

// The driver's management library. Values that it does not know, or all without it, are absent.
class Nvml {
 public:
  explicit Nvml(const std::string& pci_bus_id);
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  std::string driver() const;  // "580.159.04"; empty if unknown
  std::optional<GpuLoad> load() const;

 private:
  // The functions of nvml.h, which neither the driver nor every toolkit has. Status 0 is success. A
  // device is an opaque pointer.
  struct Functions {
    int (*init)();
    int (*shutdown)();
    int (*device)(const char* pci_bus_id, void** device);
    int (*clock)(void* device, int which, unsigned* mhz);
    int (*power)(void* device, unsigned* milliwatts);
    int (*driver_version)(char* text, unsigned size);
  };
  cuda::SharedLibrary library_;
  Functions call_{};
  bool started_ = false;
  void* device_ = nullptr;
};

}  // namespace emberq::bench

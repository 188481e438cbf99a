#include "ops/cuda/cublaslt/cublaslt.h"

#include <cublasLt.h>

#include <array>
#include <cstdlib>
#include <vector>

#include "base/check.h"
#include "base/file.h"
#include "ops/cuda/cublaslt/shared_library.h"
#include "ops/cuda/runtime/stream.h"

namespace emberq::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t(64)
                                   << 20;  // twice the size that NVIDIA recommends for Hopper
constexpr int kMostAlgorithms = 8;

// Functions of the library, with the types of the toolkit's header.
struct Functions {
  decltype(cublasLtCreate)* create;
  decltype(cublasLtDestroy)* destroy;
  decltype(cublasLtGetVersion)* version;
  decltype(cublasLtGetStatusName)* status_name;
  decltype(cublasLtMatmulDescCreate)* create_desc;
  decltype(cublasLtMatmulDescDestroy)* destroy_desc;
  decltype(cublasLtMatmulDescSetAttribute)* set_desc;
  decltype(cublasLtMatrixLayoutCreate)* create_layout;
  decltype(cublasLtMatrixLayoutDestroy)* destroy_layout;
  decltype(cublasLtMatmulPreferenceCreate)* create_preference;
  decltype(cublasLtMatmulPreferenceDestroy)* destroy_preference;
  decltype(cublasLtMatmulPreferenceSetAttribute)* set_preference;
  decltype(cublasLtMatmulAlgoGetHeuristic)* heuristic;
  decltype(cublasLtMatmul)* matmul;

  bool find_in(const SharedLibrary& library) {
    return library.find("cublasLtCreate", create) && library.find("cublasLtDestroy", destroy) &&
           library.find("cublasLtGetVersion", version) &&
           library.find("cublasLtGetStatusName", status_name) &&
           library.find("cublasLtMatmulDescCreate", create_desc) &&
           library.find("cublasLtMatmulDescDestroy", destroy_desc) &&
           library.find("cublasLtMatmulDescSetAttribute", set_desc) &&
           library.find("cublasLtMatrixLayoutCreate", create_layout) &&
           library.find("cublasLtMatrixLayoutDestroy", destroy_layout) &&
           library.find("cublasLtMatmulPreferenceCreate", create_preference) &&
           library.find("cublasLtMatmulPreferenceDestroy", destroy_preference) &&
           library.find("cublasLtMatmulPreferenceSetAttribute", set_preference) &&
           library.find("cublasLtMatmulAlgoGetHeuristic", heuristic) &&
           library.find("cublasLtMatmul", matmul);
  }
  void check(cublasStatus_t status, const char* what) const {
    EMBERQ_CHECK(status == CUBLAS_STATUS_SUCCESS, "cuBLASLt: {}: {}", what, status_name(status));
  }
};

// Files to try, in this order.
std::vector<std::string> candidates(const std::string& file) {
  if (!file.empty()) return {file};
  if (const char* named = std::getenv("EMBERQ_CUBLASLT"); named && *named) {
    if (!fs::is_directory(named)) return {named};
    const fs::path folder = named;
    return {folder / "nvidia/cu13/lib/libcublasLt.so.13",
            folder / "nvidia/cublas/lib/libcublasLt.so.12"};
  }
  return {"libcublasLt.so.13", "libcublasLt.so.12"};
}

}  // namespace

struct CublasLt::State {
  SharedLibrary library;
  std::string file;
  Functions call{};
  cublasLtHandle_t handle = nullptr;
  cudaStream_t stream = nullptr;
  Buffer workspace;
  Buffer one;  // F32: the scale of a tensor

  ~State() {
    if (handle) call.destroy(handle);
  }
};

CublasLt::CublasLt(Backend& backend, cudaStream_t stream, const std::string& file) {
  auto state = std::make_unique<State>();
  for (const std::string& candidate : candidates(file)) {
    if (state->library.open(candidate)) {
      state->file = candidate;
      break;
    }
    why_not_ += (why_not_.empty() ? "" : "; ") + state->library.why_not();
  }
  EMBERQ_REQUIRE(file.empty() || !state->file.empty(), "--cublaslt: {}", why_not_);
  if (state->file.empty()) return;
  EMBERQ_REQUIRE(state->call.find_in(state->library), "{} is not cuBLASLt, or lacks what is used",
                 state->file);
  state->call.check(state->call.create(&state->handle), "start");
  state->stream = stream;
  state->workspace = Buffer(backend, kWorkspaceBytes);
  state->one = upload(backend, std::vector<float>{1.0f});
  state_ = std::move(state);
}

CublasLt::~CublasLt() = default;

std::string CublasLt::version() const {
  const size_t version = state_->call.version();  // 130100 for 13.1.0
  return fmt::format("{}.{}.{} ({})", version / 10000, version / 100 % 100, version % 100,
                     state_->file);
}

// cuBLASLt is column-major, so it sees every matrix transposed: out^T = w x^T.
struct CublasLtProduct::State {
  const CublasLt::State& library;
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, out = nullptr;
  std::vector<cublasLtMatmulAlgo_t> algorithms;

  explicit State(const CublasLt::State& of) : library(of) {}
  State(const State&) = delete;
  ~State() {
    for (const cublasLtMatrixLayout_t layout : {w, x, out})
      if (layout) library.call.destroy_layout(layout);
    if (desc) library.call.destroy_desc(desc);
  }

  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    library.call.check(library.call.set_desc(desc, attribute, &value, sizeof value),
                       "an attribute of a product");
  }

  void describe(const CublasLtShape& shape) {
    const auto& [inputs, out_type, n, k, m] = shape;
    const Functions& call = library.call;
    const cudaDataType_t type = inputs == Inputs::kFp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
    call.check(call.create_desc(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    if (inputs == Inputs::kFp8) {
      const void* scale = library.one.as<void>();
      set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, scale);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, scale);
      set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, int8_t(1));
    }
    const auto columns = [&](cublasLtMatrixLayout_t* layout, cudaDataType_t of, int64_t rows,
                             int64_t count) {
      call.check(call.create_layout(layout, of, uint64_t(rows), uint64_t(count), rows), "a layout");
    };
    columns(&w, type, k, n);
    columns(&x, type, k, m);
    columns(&out,
            out_type == DType::kF32   ? CUDA_R_32F
            : out_type == DType::kF16 ? CUDA_R_16F
                                      : CUDA_R_16BF,
            n, m);
  }

  void ask_for_algorithms() {
    const Functions& call = library.call;
    cublasLtMatmulPreference_t preference = nullptr;
    call.check(call.create_preference(&preference), "a preference");
    std::array<cublasLtMatmulHeuristicResult_t, kMostAlgorithms> results{};
    int count = 0;
    const size_t bytes = kWorkspaceBytes;
    const cublasStatus_t limited = call.set_preference(
        preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes);
    const cublasStatus_t found = call.heuristic(library.handle, desc, w, x, out, out, preference,
                                                kMostAlgorithms, results.data(), &count);
    call.destroy_preference(preference);
    call.check(limited, "the workspace's limit");
    if (found != CUBLAS_STATUS_SUCCESS) return;  // an unsupported shape
    for (int i = 0; i < count; ++i)
      if (results[size_t(i)].state == CUBLAS_STATUS_SUCCESS)
        algorithms.push_back(results[size_t(i)].algo);
  }
};

CublasLtProduct::CublasLtProduct(const CublasLt& library, const CublasLtShape& shape)
    : state_(std::make_unique<State>(library.state())) {
  state_->describe(shape);
  state_->ask_for_algorithms();
}

CublasLtProduct::~CublasLtProduct() = default;

int CublasLtProduct::algorithms() const { return int(state_->algorithms.size()); }

bool CublasLtProduct::run(int algorithm, const void* x, const void* w, void* out,
                          const void* added) {
  const State& s = *state_;
  const float alpha = 1, beta = added ? 1 : 0;
  return s.library.call.matmul(s.library.handle, s.desc, &alpha, w, s.w, x, s.x, &beta,
                               added ? added : out, s.out, out, s.out,
                               &s.algorithms[size_t(algorithm)], s.library.workspace.as<void>(),
                               kWorkspaceBytes, s.library.stream) == CUBLAS_STATUS_SUCCESS;
}

}  // namespace emberq::cuda

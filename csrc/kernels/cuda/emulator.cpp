// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernel bodies compiled for the CPU, so that the tests run them without a GPU.
#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "common/error.h"
#include "kernels/cuda/depthwise_conv_bodies.h"
#include "kernels/cuda/emulate.h"
#include "kernels/cuda/row_pairs_bodies.h"

namespace fastcodec::cuda {
namespace {

constexpr DeviceLimits kKinds[] = {{163 << 10, false, 2}, {99 << 10, false, 2}, {227 << 10, true, 2}};
constexpr int kDevices = emulate::kOrders * 3;
thread_local int current = 0;

emulate::Order order() { return static_cast<emulate::Order>(current % emulate::kOrders); }

template <ImageOp kOp>
void run(const ImageJob& job) {
  const ImageThreads threads = image_threads(job);
  for (int block = threads.blocks - 1; block >= 0; --block) {  // backwards: no order may matter
    for (int y = threads.height - 1; y >= 0; --y) {
      for (int x = threads.width - 1; x >= 0; --x) image_body<kOp>(job, x, y, block);
    }
  }
}

using Run = void (*)(const ImageJob&);
constexpr Run kRuns[kImageOps] = {
    run<ImageOp::kCopy>,       run<ImageOp::kDepthwise>,     run<ImageOp::kPixelUnshuffle>,    run<ImageOp::kUnshufflePhase>,
    run<ImageOp::kPhase>,      run<ImageOp::kScale>,         run<ImageOp::kLookup>,            run<ImageOp::kPixelShuffle>,
    run<ImageOp::kPixelShuffleTwice>,
    run<ImageOp::kBicubicUp2>, run<ImageOp::kBicubicDown2>,  run<ImageOp::kResidual>,          run<ImageOp::kShuffleResidual>,
};

using ConvBlock = void (*)(const ConvJob&);
// By log2 of the tiles and type; 4 tiles of i16 would take too many registers.
constexpr ConvBlock kConvBlocks[3][3] = {
    {conv_block<1, Dtype::kU8>, conv_block<1, Dtype::kI8>, conv_block<1, Dtype::kI16>},
    {conv_block<2, Dtype::kU8>, conv_block<2, Dtype::kI8>, conv_block<2, Dtype::kI16>},
    {conv_block<4, Dtype::kU8>, conv_block<4, Dtype::kI8>, nullptr},
};
constexpr ConvBlock kSparseConvBlocks[3][2] = {
    {conv_block<1, Dtype::kU8, true>, conv_block<1, Dtype::kI8, true>},
    {conv_block<2, Dtype::kU8, true>, conv_block<2, Dtype::kI8, true>},
    {conv_block<4, Dtype::kU8, true>, conv_block<4, Dtype::kI8, true>},
};

constexpr ConvBlock kDepthwiseConvBlocks[3] = {depthwise_conv_block<1>, depthwise_conv_block<2>, depthwise_conv_block<4>};

// There are no streams; any but 0 stands for one that the caller records, where nothing but launches and memory in its order may be.
thread_local bool caller_records = false;
bool is_recording(void* stream) { return caller_records = stream != nullptr; }
void forbid_while_recording(const char* what) {
  if (caller_records) throw Error(ErrorCode::kBackend, std::string("emulator: ") + what + " while the caller records the stream");
}

void* allocate(size_t n_bytes, void*) { return ::operator new(n_bytes, std::align_val_t{256}); }
void release(void* data, void*) { ::operator delete(data, std::align_val_t{256}); }
void upload(void* to, const void* from, size_t n_bytes, void*) { std::memcpy(to, from, n_bytes); }

// A graph is a list of launches.
using Graph = std::vector<std::function<void()>>;
thread_local Graph* recorder = nullptr;
template <class Job>
void run_or_record(void (*run)(const Job&), const Job& job) {
  if (recorder) recorder->push_back([=] { run(job); });
  else run(job);
}

void run_conv(const ConvJob& job) {
  const int tiles = job.n_tiles / 2, type = static_cast<int>(job.in.type);
  const ConvBlock block = job.before.weight ? kDepthwiseConvBlocks[tiles]
                          : job.halves == 4 ? kSparseConvBlocks[tiles][type]
                                            : kConvBlocks[tiles][type];
  const size_t bytes = job.before.weight ? depthwise_shared_bytes(job) : conv_shared_bytes(job);
  emulate::launch(conv_grid_x(job), conv_grid_y(job), kConvThreads, bytes, order(), [&] { block(job); });
}

template <bool kSparse>
void run_pair(const FusedJob& job) {
  using Pair = Pair64<kSparse>;
  emulate::launch(std::min(Pair::tiles(job), job.n_units), 1, kWgmmaThreads, Pair::kSharedBytes, order(), [&] {
    Pair::adds(job) ? Pair::template block<true>(job) : Pair::template block<false>(job);
  });
}

void run_fused(const FusedJob& job) {
  switch (job.kernel) {
    case FusedKernel::kChain32:
      emulate::launch(chain_grid(job), 1, kChainThreads, chain_shared_bytes(job.side), order(), [&] { chain_block(job); });
      break;
    case FusedKernel::kRowPairs32:
      emulate::launch(std::min(RowPairs32::tiles(job), job.n_units), 1, kWgmmaThreads, RowPairs32::kSharedBytes, order(),
                      [&] { RowPairs32::block(job); });
      break;
    case FusedKernel::kPair64: run_pair<false>(job); break;
    case FusedKernel::kSparsePair64: run_pair<true>(job); break;
  }
}

void launch(const ImageJob& job, void*) { run_or_record(kRuns[static_cast<int>(job.op)], job); }
void launch_conv(const ConvJob& job, void*) { run_or_record(run_conv, job); }
void launch_fused(const FusedJob& job, void*) { run_or_record(run_fused, job); }

void* capture(const std::function<void(void*)>& work) {
  auto graph = std::make_unique<Graph>();
  recorder = graph.get();
  work(nullptr);
  recorder = nullptr;
  return graph.release();
}
void replay(void* graph, void*) {
  for (const auto& run : *static_cast<Graph*>(graph)) run();
}
void drop(void* graph) {
  forbid_while_recording("the end of a graph");
  delete static_cast<Graph*>(graph);
}
void wait() { forbid_while_recording("a wait"); }

int use(int index) {
  if (index < 0 || index >= kDevices) {
    throw Error(ErrorCode::kBackend, "emulator: device number must be 0 to " + std::to_string(kDevices - 1) + ", got " + std::to_string(index));
  }
  const int previous = current;
  current = index;
  return previous;
}

DeviceLimits limits() { return kKinds[current / emulate::kOrders]; }

const Device kDevice = {"emulator", allocate, release, upload, launch, launch_conv, launch_fused, wait, use, limits,
                        capture,    replay,   drop,    is_recording};

}  // namespace

const Device& emulator() { return kDevice; }

}  // namespace fastcodec::cuda

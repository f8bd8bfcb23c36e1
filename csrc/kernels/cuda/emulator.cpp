// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernel bodies compiled for the CPU, so that the tests run them without a GPU.
#include <cstring>
#include <new>

#include "kernels/cuda/image_bodies.h"

namespace fastcodec::cuda {
namespace {

template <ImageOp kOp>
void run(const ImageJob& job) {
  for (int block = n_blocks(job) - 1; block >= 0; --block) {  // backwards: no order may matter
    for (int y = job.out.height - 1; y >= 0; --y) {
      for (int x = job.out.width - 1; x >= 0; --x) image_body<kOp>(job, x, y, block);
    }
  }
}

using Run = void (*)(const ImageJob&);
constexpr Run kRuns[kImageOps] = {
    run<ImageOp::kCopy>,         run<ImageOp::kConv>,       run<ImageOp::kDepthwise>,
    run<ImageOp::kPixelUnshuffle>, run<ImageOp::kPhase>,      run<ImageOp::kPixelShuffle>,
    run<ImageOp::kBicubicUp2>,   run<ImageOp::kBicubicDown2>, run<ImageOp::kResidual>,
};

void* allocate(size_t n_bytes, void*) { return ::operator new(n_bytes); }
void release(void* data, void*) { ::operator delete(data); }
void upload(void* to, const void* from, size_t n_bytes, void*) { std::memcpy(to, from, n_bytes); }
void launch(const ImageJob& job, void*) { kRuns[static_cast<int>(job.op)](job); }

void wait() {}
int use(int) { return 0; }

const Device kDevice = {"emulator", allocate, release, upload, launch, wait, use};

}  // namespace

const Device& emulator() { return kDevice; }

}  // namespace fastcodec::cuda

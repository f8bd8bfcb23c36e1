// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The operations of a packed program on whole images, for a device with memory of its own: a GPU, or the emulator that
// runs the same kernel bodies on the CPU. No CUDA header is needed here.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

namespace fastcodec::cuda {

enum class ImageOp : uint8_t {
  kCopy, kConv, kDepthwise, kPixelUnshuffle, kPhase, kPixelShuffle, kBicubicUp2, kBicubicDown2, kResidual
};
constexpr int kImageOps = 9;
constexpr int kConvBlock = 8;  // output channels of one thread

// NHWC in device memory: channel c of pixel (x, y) at data[(y * width + x) * pixel + c].
struct ImageView {
  void* data;
  int height;
  int width;
  int channels;
  int pixel;
  Dtype type;
};

// One operation; what each field means is as in kernels.h. Borders are replicated here, from the sizes of the views.
struct ImageJob {
  ImageOp op;
  ImageView in;        // kConv: pixel % 4 == 0, data aligned to 4
  ImageView in2;       // `add` of a convolution (data null: none), or the base of residual
  ImageView out;
  int x0, y0;          // kCopy: out (0, 0) is in (x0, y0)
  int kernel, stride;  // convolutions
  const uint32_t* weight;  // kConv: [out channels rounded up to kConvBlock][tap][in.pixel / 4] words of four int8, zero where
                           // nothing is; kDepthwise: bytes, [channel][9]
  const int32_t* bias;     // [channels rounded up to kConvBlock]
  const int32_t* mult;
  const uint8_t* table;    // kPhase: [2][n_planes][period]
  int n_planes, period;
};

// What a device can do. `stream` is a cudaStream_t (0: the default one); the emulator has none. All work is in the order of
// the stream. Functions throw Error{kBackend} with the driver's words, or std::bad_alloc.
struct Device {
  const char* name;
  void* (*allocate)(size_t n_bytes, void* stream);
  void (*release)(void* data, void* stream);
  // From host memory. The bytes are there for every stream when the call returns.
  void (*upload)(void* to, const void* from, size_t n_bytes, void* stream);
  void (*launch)(const ImageJob& job, void* stream);
  // Waits for all work of the device; never throws.
  void (*wait)();
  // Makes device `index` the current one of this thread and returns the one that was.
  int (*use)(int index);
};

// The CUDA devices; kBackend in a build without CUDA or where none can be used.
const Device& cuda_device();
// The kernel bodies on the CPU, in another order of pixels than a GPU would take.
const Device& emulator();

}  // namespace fastcodec::cuda

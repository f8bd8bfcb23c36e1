// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The operations of a packed program on whole images, for a device with memory of its own: a GPU, or the emulator that
// runs the same kernel bodies on the CPU. No CUDA header is needed here.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <functional>

#include "kernels/kernels.h"

namespace fastcodec::cuda {

// Device memory of one value. Channel c of pixel (x, y) is element (c >> group_log2) * plane + (y * width + x) * pixel +
// (c & (2^group_log2 - 1)). Two layouts are in use:
// - dense NHWC, as callers have it: pixel == channels, one group;
// - planes of 16 channels [c / 16][y][x][16], which convolutions read and write: 16 bytes of a pixel are one copy, and a
//   filter tap is only another start address. The channels that fill the last plane mean nothing.
struct ImageView {
  void* data;
  int height;
  int width;
  int channels;
  int pixel;
  int group_log2;
  size_t plane;
  Dtype type;
};
constexpr int kPlaneChannels = 16;

inline int n_planes(int channels) { return (channels + kPlaneChannels - 1) / kPlaneChannels; }
inline int element_bytes(Dtype type) { return type == Dtype::kI16 ? 2 : 1; }

inline ImageView dense_view(void* data, int height, int width, int channels, Dtype type) {
  return {data, height, width, channels, channels, 20, 0, type};
}
inline ImageView planes_view(void* data, int height, int width, int channels, Dtype type) {
  return {data, height, width, channels, kPlaneChannels, 4, static_cast<size_t>(height) * width * kPlaneChannels, type};
}
inline size_t view_bytes(const ImageView& v) {
  const size_t n_pixels = static_cast<size_t>(v.height) * v.width;
  return (v.plane ? v.plane * n_planes(v.channels) : n_pixels * v.pixel) * element_bytes(v.type);
}

// ---- operations in which a thread works alone ---------------------------------------------------------------------
enum class ImageOp : uint8_t {
  kCopy, kDepthwise, kPixelUnshuffle, kUnshufflePhase, kPhase, kScale, kLookup, kPixelShuffle, kPixelShuffleTwice,
  kBicubicUp2, kBicubicDown2, kResidual, kShuffleResidual
};
constexpr int kImageOps = 13;

// A depthwise 3x3 convolution.
struct DepthwiseLayer {
  const uint32_t* weight;  // pack_depthwise, aligned to 16 bytes as the others
  const int32_t* bias;     // [channels rounded up to 16]
  const int32_t* mult;
};

// One operation; what each field means is as in kernels.h. Borders are replicated here, from the sizes of the views.
struct ImageJob {
  ImageOp op;
  ImageView in;
  ImageView in2;  // `add` of a convolution (data null: none), or the base of residual
  ImageView out;
  int x0, y0;             // kCopy: out (0, 0) is in (x0, y0)
  int stride;             // kDepthwise
  const uint32_t* weight;  // kDepthwise: pack_depthwise
  const int32_t* bias;    // kDepthwise and kScale: [channels rounded up to 16], aligned to 16 bytes
  const int32_t* mult;    // of kPixelShuffleTwice too, if a scale comes after it; else null
  const uint8_t* table;   // kPhase and kUnshufflePhase: [2][n_phases][period]; kLookup: [256] or [channels][256]
  int n_phases, period;
  bool by_channel;        // kLookup: a table for each channel
};

// ---- convolutions on tensor cores ---------------------------------------------------------------------------------
// One convolution of any shape, input and output in planes. A block makes kTile x kTile pixels of up to 64 channels.
struct ConvJob {
  ImageView in;         // u8 or i8; with kernel 1 and at most 2 tiles also i16
  ImageView add;        // data null: none
  ImageView out;
  int kernel, stride;   // 1 or 3; 1 or 2
  int n_tiles;          // of 16 output channels a block: 1, 2 or 4
  int chunk_planes;     // input planes of a stage of shared memory
  int n_stages;         // 1, 2 or 4: all but one are brought meanwhile
  int halves;           // of 16 of k in a product: 2, with sparse weights 4
  const void* weight;   // pack_conv, for i16 pack_wide; sparse: pack_sparse_conv
  const int32_t* bias;  // [output channels rounded up to 16 * n_tiles], zeros behind the last
  const int32_t* mult;  // the same
  DepthwiseLayer before;  // weight null: none; else of u8 to u8, stride 1, and this a dense 1x1 of stride 1; n_stages is 1
};
constexpr int kConvTile = 16, kConvThreads = 256;

// What the result of a layer gets added before it is clamped.
enum class Add : uint8_t { kNone, kInput, kInputBefore };  // the layer's input; the input of the layer before

struct FusedLayer {
  const void* weight;   // kChain32: pack_conv; the others: as they are called
  const int32_t* bias;  // [channels of the kernel], zeros behind the last
  const int32_t* mult;
  Add add;
};
constexpr int kMaxFused = 6;

enum class FusedKernel : uint8_t { kChain32, kRowPairs32, kPair64, kSparsePair64 };
constexpr int kFusedKernels = 4;

// Several 3x3 convolutions of stride 1 one after the other, in planes. A block keeps a tile of the input in shared memory
// with a halo of one pixel a layer and works on it there: all values but the last are u8.
struct FusedJob {
  FusedKernel kernel;
  ImageView in;
  ImageView out;  // kChain32: any type; kRowPairs32: u8 or i16; pairs: u8
  int n_layers;   // pairs: 2
  int side;       // kChain32: of the tile with its halo
  int n_units;    // kRowPairs32 and pairs: at most so many blocks, which persist
  FusedLayer layers[kMaxFused];
};

struct DeviceLimits {
  size_t shared_bytes;  // that a block may have
  bool wgmma;           // sm_90a code runs here
  int n_units;          // multiprocessors
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
  void (*launch_conv)(const ConvJob& job, void* stream);
  void (*launch_fused)(const FusedJob& job, void* stream);
  // Waits for all work of the device; never throws.
  void (*wait)();
  // Makes device `index` the current one of this thread and returns the one that was.
  int (*use)(int index);
  // Of the current device.
  DeviceLimits (*limits)();
  // Runs `work` with a stream that only records what is launched there, and returns that as a graph, for replay() in any stream.
  // `work` may not allocate.
  void* (*capture)(const std::function<void(void* stream)>& work);
  void (*replay)(void* graph, void* stream);
  // After all its work is done.
  void (*drop)(void* graph);
  // Is the caller recording this stream? Then nothing may be replayed there.
  bool (*is_recording)(void* stream);
};

// The CUDA devices; kBackend in a build without CUDA or where none can be used.
const Device& cuda_device();
// The kernel bodies on the CPU. Its device number chooses what is emulated: number % 5 is the order in which threads run (see
// emulate.h), number / 5 the kind of GPU: 0 like sm_80 (163 KiB), 1 like sm_89 (99 KiB), 2 like sm_90a (227 KiB, wgmma).
const Device& emulator();

}  // namespace fastcodec::cuda

// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The operations in which a thread works alone: what it does for one output pixel (and, in a depthwise convolution, one block
// of channels).
#pragma once

#include "kernels/cuda/dev.h"
#include "kernels/cuda/image_ops.h"

namespace fastcodec::cuda {

FASTCODEC_DEV size_t element(const ImageView& v, int x, int y, int c) {
  x = dev::clamp(x, 0, v.width - 1);  // replicated borders
  y = dev::clamp(y, 0, v.height - 1);
  return (c >> v.group_log2) * v.plane + (static_cast<size_t>(y) * v.width + x) * v.pixel + (c & ((1 << v.group_log2) - 1));
}

FASTCODEC_DEV int32_t load(const ImageView& v, int x, int y, int c) {
  const size_t at = element(v, x, y, c);
  if (v.type == Dtype::kU8) return static_cast<const uint8_t*>(v.data)[at];
  if (v.type == Dtype::kI8) return static_cast<const int8_t*>(v.data)[at];
  return static_cast<const int16_t*>(v.data)[at];
}

// Saturates.
FASTCODEC_DEV void store(const ImageView& v, int x, int y, int c, int32_t value) {
  const size_t at = element(v, x, y, c);
  if (v.type == Dtype::kU8) static_cast<uint8_t*>(v.data)[at] = static_cast<uint8_t>(dev::clamp(value, 0, 255));
  else if (v.type == Dtype::kI8) static_cast<int8_t*>(v.data)[at] = static_cast<int8_t>(dev::clamp(value, -128, 127));
  else static_cast<int16_t*>(v.data)[at] = static_cast<int16_t>(dev::clamp(value, -32768, 32767));
}

FASTCODEC_DEV void finish_conv(const ImageJob& j, int x, int y, int c, int32_t acc) {
  int32_t v = dev::mul_shift_32(acc + j.bias[c], j.mult[c]);
  if (j.in2.data) v += load(j.in2, x, y, c);
  store(j.out, x, y, c, v);
}

FASTCODEC_DEV void depthwise_body(const ImageJob& j, int x, int y, int block) {
  for (int c = block * kThreadChannels; c < (block + 1) * kThreadChannels && c < j.out.channels; ++c) {
    int32_t acc = 0;
    for (int tap = 0; tap < 9; ++tap) {
      acc += j.weight[c * 9 + tap] * load(j.in, x * j.stride + tap % 3 - 1, y * j.stride + tap / 3 - 1, c);
    }
    finish_conv(j, x, y, c, acc);
  }
}

FASTCODEC_DEV int up2_weight(int phase, int k) {
  const int even = k == 0 ? -6 : k == 1 ? 58 : k == 2 ? 222 : -18, odd = k == 0 ? -18 : k == 1 ? 222 : k == 2 ? 58 : -6;
  return phase ? odd : even;
}

FASTCODEC_DEV int down2_weight(int k) {
  const int i = k < 4 ? k : 7 - k;
  return i == 0 ? -3 : i == 1 ? -9 : i == 2 ? 29 : 111;
}

FASTCODEC_DEV void store_bicubic(const ImageJob& j, int x, int y, int c, int32_t sum) {
  store(j.out, x, y, c, j.out.type == Dtype::kI16 ? (sum + (1 << 11)) >> 12 : (sum + (1 << 15)) >> 16);
}

FASTCODEC_DEV void up2_body(const ImageJob& j, int x, int y) {
  for (int c = 0; c < j.out.channels; ++c) {
    int32_t sum = 0;
    for (int i = 0; i < 4; ++i) {
      for (int k = 0; k < 4; ++k) {
        sum += up2_weight(y & 1, i) * up2_weight(x & 1, k) * load(j.in, x / 2 - 2 + (x & 1) + k, y / 2 - 2 + (y & 1) + i, c);
      }
    }
    store_bicubic(j, x, y, c, sum);
  }
}

FASTCODEC_DEV void down2_body(const ImageJob& j, int x, int y) {
  for (int c = 0; c < j.out.channels; ++c) {
    int32_t sum = 0;
    for (int i = 0; i < 8; ++i) {
      for (int k = 0; k < 8; ++k) sum += down2_weight(i) * down2_weight(k) * load(j.in, 2 * x - 3 + k, 2 * y - 3 + i, c);
    }
    store_bicubic(j, x, y, c, sum);
  }
}

FASTCODEC_DEV void phase_body(const ImageJob& j, int x, int y) {
  for (int c = 0; c < j.in.channels; ++c) store(j.out, x, y, c, load(j.in, x, y, c));
  for (int k = 0; k < j.n_phases; ++k) {
    store(j.out, x, y, j.in.channels + k, j.table[k * j.period + x % j.period]);
    store(j.out, x, y, j.in.channels + j.n_phases + k, j.table[(j.n_phases + k) * j.period + y % j.period]);
  }
}

FASTCODEC_DEV void residual_body(const ImageJob& j, int x, int y) {
  for (int c = 0; c < j.out.channels; ++c) {
    const int32_t base = load(j.in2, x, y, c);
    store(j.out, x, y, c, ((j.in2.type == Dtype::kU8 ? base * 16 : base) + load(j.in, x, y, c) + 8) >> 4);
  }
}

// Threads are pixels x blocks: block is 0 but in depthwise convolutions.
template <ImageOp kOp>
FASTCODEC_DEV void image_body(const ImageJob& j, int x, int y, int block) {
  switch (kOp) {
    case ImageOp::kCopy:
      for (int c = 0; c < j.out.channels; ++c) store(j.out, x, y, c, load(j.in, j.x0 + x, j.y0 + y, c));
      break;
    case ImageOp::kDepthwise: depthwise_body(j, x, y, block); break;
    case ImageOp::kPixelUnshuffle:
      for (int c = 0; c < j.out.channels; ++c) {
        store(j.out, x, y, c, load(j.in, 2 * x + c % 2, 2 * y + c / 2 % 2, c / 4));
      }
      break;
    case ImageOp::kPhase: phase_body(j, x, y); break;
    case ImageOp::kPixelShuffle:
      for (int c = 0; c < j.out.channels; ++c) {
        store(j.out, x, y, c, load(j.in, x / 2, y / 2, c * 4 + y % 2 * 2 + x % 2));
      }
      break;
    case ImageOp::kBicubicUp2: up2_body(j, x, y); break;
    case ImageOp::kBicubicDown2: down2_body(j, x, y); break;
    case ImageOp::kResidual: residual_body(j, x, y); break;
  }
}

inline int n_blocks(const ImageJob& j) {
  return j.op == ImageOp::kDepthwise ? (j.out.channels + kThreadChannels - 1) / kThreadChannels : 1;
}

}  // namespace fastcodec::cuda

// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The operations in which a thread works alone: what it does for one pixel and one block of channels. Wherever 16 channels lie
// together they are one or two copies of 16 bytes.
#pragma once

#include "kernels/cuda/dev.h"
#include "kernels/cuda/image_ops.h"

namespace fastcodec::cuda {

FASTCODEC_DEV size_t element(const ImageView& v, int x, int y, int c) {
  x = dev::clamp(x, 0, v.width - 1);  // replicated borders
  y = dev::clamp(y, 0, v.height - 1);
  return (c >> v.group_log2) * v.plane + (static_cast<size_t>(y) * v.width + x) * v.pixel + (c & ((1 << v.group_log2) - 1));
}

FASTCODEC_DEV int32_t load_at(const ImageView& v, size_t at) {
  if (v.type == Dtype::kU8) return static_cast<const uint8_t*>(v.data)[at];
  if (v.type == Dtype::kI8) return static_cast<const int8_t*>(v.data)[at];
  return static_cast<const int16_t*>(v.data)[at];
}

FASTCODEC_DEV int32_t load(const ImageView& v, int x, int y, int c) { return load_at(v, element(v, x, y, c)); }

// Saturates.
FASTCODEC_DEV void store_at(const ImageView& v, size_t at, int32_t value) {
  if (v.type == Dtype::kU8) static_cast<uint8_t*>(v.data)[at] = static_cast<uint8_t>(dev::clamp(value, 0, 255));
  else if (v.type == Dtype::kI8) static_cast<int8_t*>(v.data)[at] = static_cast<int8_t>(dev::clamp(value, -128, 127));
  else static_cast<int16_t*>(v.data)[at] = static_cast<int16_t>(dev::clamp(value, -32768, 32767));
}

FASTCODEC_DEV void store(const ImageView& v, int x, int y, int c, int32_t value) { store_at(v, element(v, x, y, c), value); }

struct alignas(16) Words4 {
  uint32_t w[4];
};

// kCount (2, 4, 8 or 16) values of one or two bytes, as they are loaded and stored at once.
template <int kCount>
struct alignas(kCount < 4 ? 4 : kCount) ByteWords {
  uint32_t w[(kCount + 3) / 4];
};
template <int kCount>
struct alignas(kCount < 8 ? 2 * kCount : 16) ShortWords {
  uint32_t w[kCount / 2];
};

// kCount (2, 4, 8 or 16) channels from c, all in one group of the view and aligned.
template <int kCount>
FASTCODEC_DEV void load_channels(const ImageView& v, int x, int y, int c, int32_t (&values)[kCount]) {
  using Bytes = ByteWords<kCount>;
  using Shorts = ShortWords<kCount>;
  const size_t at = element(v, x, y, c);
  if (v.type == Dtype::kI16) {
    const Shorts loaded = *reinterpret_cast<const Shorts*>(static_cast<const int16_t*>(v.data) + at);
    FASTCODEC_UNROLL
    for (int i = 0; i < kCount; ++i) values[i] = dev::short_of(loaded.w[i / 2], i % 2);
    return;
  }
  const uint8_t* from = static_cast<const uint8_t*>(v.data) + at;
  Bytes loaded;
  if constexpr (kCount == 2) loaded.w[0] = *reinterpret_cast<const uint16_t*>(from);
  else loaded = *reinterpret_cast<const Bytes*>(from);
  const bool is_signed = v.type == Dtype::kI8;
  FASTCODEC_UNROLL
  for (int i = 0; i < kCount; ++i) {
    values[i] = is_signed ? dev::byte_of<true>(loaded.w[i / 4], i % 4) : dev::byte_of<false>(loaded.w[i / 4], i % 4);
  }
}

// Saturates.
template <int kCount>
FASTCODEC_DEV void store_channels(const ImageView& v, int x, int y, int c, const int32_t (&values)[kCount]) {
  using Bytes = ByteWords<kCount>;
  using Shorts = ShortWords<kCount>;
  const size_t at = element(v, x, y, c);
  if (v.type == Dtype::kI16) {
    Shorts out;
    FASTCODEC_UNROLL
    for (int i = 0; i < kCount; i += 2) out.w[i / 2] = dev::pack_shorts(values[i], values[i + 1]);
    *reinterpret_cast<Shorts*>(static_cast<int16_t*>(v.data) + at) = out;
    return;
  }
  Bytes out;
  const bool is_signed = v.type == Dtype::kI8;
  FASTCODEC_UNROLL
  for (int i = 0; i < kCount; i += 4) {
    const int i2 = i + 2 < kCount ? i + 2 : i, i3 = i + 3 < kCount ? i + 3 : i;  // for 2 channels anything will do
    out.w[i / 4] = is_signed ? dev::pack_bytes<true>(values[i], values[i + 1], values[i2], values[i3])
                             : dev::pack_bytes<false>(values[i], values[i + 1], values[i2], values[i3]);
  }
  uint8_t* to = static_cast<uint8_t*>(v.data) + at;
  if constexpr (kCount == 2) *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(out.w[0]);
  else *reinterpret_cast<Bytes*>(to) = out;
}

// Do 16 channels lie together and aligned, wherever a block of them begins?
FASTCODEC_DEV bool has_runs(const ImageView& v) {
  return v.plane || (v.channels % kPlaneChannels == 0 && reinterpret_cast<uintptr_t>(v.data) % 16 == 0);
}

// Block `block` of 16 channels of a pixel; what is behind the last channel means nothing.
FASTCODEC_DEV void load_run(const ImageView& v, int x, int y, int block, int32_t (&values)[kPlaneChannels]) {
  const int c = block * kPlaneChannels;
  if (has_runs(v)) return load_channels(v, x, y, c, values);
  const size_t at = element(v, x, y, c);
  FASTCODEC_UNROLL
  for (int i = 0; i < kPlaneChannels; ++i) values[i] = c + i < v.channels ? load_at(v, at + i) : 0;
}

// Saturates.
FASTCODEC_DEV void store_run(const ImageView& v, int x, int y, int block, const int32_t (&values)[kPlaneChannels]) {
  const int c = block * kPlaneChannels;
  if (has_runs(v)) return store_channels(v, x, y, c, values);
  const size_t at = element(v, x, y, c);
  FASTCODEC_UNROLL
  for (int i = 0; i < kPlaneChannels; ++i) {
    if (c + i < v.channels) store_at(v, at + i, values[i]);
  }
}

FASTCODEC_DEV void copy_body(const ImageJob& j, int x, int y, int block) {
  int32_t v[kPlaneChannels];
  load_run(j.in, j.x0 + x, j.y0 + y, block, v);
  store_run(j.out, x, y, block, v);
}

// Block `block` of 16 channels.
FASTCODEC_DEV void scale_run(const ImageJob& j, int block, int32_t (&v)[kPlaneChannels]) {
  FASTCODEC_UNROLL
  for (int k = 0; k < kPlaneChannels / 4; ++k) {
    const Words4 mult = reinterpret_cast<const Words4*>(j.mult)[block * 4 + k];
    const Words4 bias = reinterpret_cast<const Words4*>(j.bias)[block * 4 + k];
    FASTCODEC_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int64_t product = static_cast<int64_t>(v[4 * k + i]) * static_cast<int32_t>(mult.w[i]);
      v[4 * k + i] = static_cast<int32_t>((product + static_cast<int32_t>(bias.w[i])) >> 16);  // below 2^31: an i16 times 2^31
    }
  }
}

FASTCODEC_DEV void scale_body(const ImageJob& j, int x, int y, int block) {
  int32_t v[kPlaneChannels];
  load_run(j.in, x, y, block, v);
  scale_run(j, block, v);
  store_run(j.out, x, y, block, v);
}

FASTCODEC_DEV void lookup_body(const ImageJob& j, int x, int y, int block) {
  const bool is_signed = j.out.type == Dtype::kI8;
  int32_t v[kPlaneChannels];
  load_run(j.in, x, y, block, v);
  FASTCODEC_UNROLL
  for (int i = 0; i < kPlaneChannels; ++i) {
    const int c = block * kPlaneChannels + i;
    const int row = j.by_channel ? (c < j.out.channels ? c : j.out.channels - 1) : 0;
    const uint8_t found = j.table[row * 256 + (v[i] & 255)];
    v[i] = is_signed ? static_cast<int8_t>(found) : found;
  }
  store_run(j.out, x, y, block, v);
}

// A block of input channels becomes four of the output.
FASTCODEC_DEV void unshuffle_body(const ImageJob& j, int x, int y, int block) {
  int32_t v[4][kPlaneChannels];
  FASTCODEC_UNROLL
  for (int q = 0; q < 4; ++q) load_run(j.in, 2 * x + q % 2, 2 * y + q / 2, block, v[q]);
  FASTCODEC_UNROLL
  for (int r = 0; r < 4; ++r) {
    if ((4 * block + r) * kPlaneChannels >= j.out.channels) break;
    int32_t run[kPlaneChannels];
    FASTCODEC_UNROLL
    for (int i = 0; i < kPlaneChannels; ++i) run[i] = v[i % 4][4 * r + i / 4];
    store_run(j.out, x, y, 4 * block + r, run);
  }
}

// The inverse, by input pixels and blocks of the output.
FASTCODEC_DEV void shuffle_body(const ImageJob& j, int x, int y, int block) {
  int32_t v[4][kPlaneChannels] = {};
  FASTCODEC_UNROLL
  for (int r = 0; r < 4; ++r) {
    if ((4 * block + r) * kPlaneChannels < j.in.channels) load_run(j.in, x, y, 4 * block + r, v[r]);
  }
  FASTCODEC_UNROLL
  for (int q = 0; q < 4; ++q) {
    int32_t run[kPlaneChannels];
    FASTCODEC_UNROLL
    for (int i = 0; i < kPlaneChannels; ++i) run[i] = v[i / 4][i % 4 * 4 + q];
    store_run(j.out, 2 * x + q % 2, 2 * y + q / 2, block, run);
  }
}

// Depthwise 3x3: products of four bytes at a time. The first eight taps of four channels, one word a tap, are turned into two words
// a channel; the ninth is multiplied where it lies, by weights of which three bytes are zero.
constexpr int kDepthwiseWords = 3;  // of weights of a channel: taps 0 to 3, taps 4 to 7, tap 8 at the channel's byte

// Four channels in a word a tap become four taps in a word a channel.
FASTCODEC_DEV void turn_bytes(const uint32_t (&in)[4], uint32_t (&out)[4]) {
  const uint32_t low01 = dev::choose_bytes<0x5140>(in[0], in[1]), low23 = dev::choose_bytes<0x5140>(in[2], in[3]);
  const uint32_t high01 = dev::choose_bytes<0x7362>(in[0], in[1]), high23 = dev::choose_bytes<0x7362>(in[2], in[3]);
  out[0] = dev::choose_bytes<0x5410>(low01, low23);
  out[1] = dev::choose_bytes<0x7632>(low01, low23);
  out[2] = dev::choose_bytes<0x5410>(high01, high23);
  out[3] = dev::choose_bytes<0x7632>(high01, high23);
}

// What four channels from c on, a multiple of 4, need of a layer.
struct DepthwiseFour {
  uint32_t weight[4 * kDepthwiseWords];
  int32_t bias[4], mult[4];
};
FASTCODEC_DEV DepthwiseFour depthwise_four(const DepthwiseLayer& layer, int c) {
  DepthwiseFour four;
  FASTCODEC_UNROLL
  for (int i = 0; i < kDepthwiseWords; ++i) {
    const Words4 words = reinterpret_cast<const Words4*>(layer.weight)[c / 4 * kDepthwiseWords + i];
    FASTCODEC_UNROLL
    for (int k = 0; k < 4; ++k) four.weight[4 * i + k] = words.w[k];
  }
  const Words4 bias = reinterpret_cast<const Words4*>(layer.bias)[c / 4], mult = reinterpret_cast<const Words4*>(layer.mult)[c / 4];
  FASTCODEC_UNROLL
  for (int i = 0; i < 4; ++i) {
    four.bias[i] = static_cast<int32_t>(bias.w[i]);
    four.mult[i] = static_cast<int32_t>(mult.w[i]);
  }
  return four;
}

// Four channels of a pixel from a word of each tap; before `add` and the clamp.
template <bool kSigned>
FASTCODEC_DEV void depthwise_pixel(const uint32_t (&taps)[9], const DepthwiseFour& four, int32_t (&v)[4]) {
  uint32_t first[4], second[4];
  turn_bytes({taps[0], taps[1], taps[2], taps[3]}, first);
  turn_bytes({taps[4], taps[5], taps[6], taps[7]}, second);
  FASTCODEC_UNROLL
  for (int i = 0; i < 4; ++i) {
    const uint32_t* weight = four.weight + i * kDepthwiseWords;
    int32_t acc = dev::dot4<kSigned>(first[i], weight[0], four.bias[i]);
    acc = dev::dot4<kSigned>(second[i], weight[1], acc);
    v[i] = dev::mul_shift_32(dev::dot4<kSigned>(taps[8], weight[2], acc), four.mult[i]);
  }
}

// 16 bytes of a pixel of u8 or i8; what is behind the last channel means nothing.
FASTCODEC_DEV Words4 load_bytes(const ImageView& v, int x, int y, int block) {
  const size_t at = element(v, x, y, block * kPlaneChannels);
  const uint8_t* from = static_cast<const uint8_t*>(v.data) + at;
  if (has_runs(v)) return *reinterpret_cast<const Words4*>(from);
  Words4 words = {};
  FASTCODEC_UNROLL
  for (int i = 0; i < kPlaneChannels; ++i) {
    if (block * kPlaneChannels + i < v.channels) words.w[i / 4] |= static_cast<uint32_t>(from[i]) << i % 4 * 8;
  }
  return words;
}

FASTCODEC_DEV void depthwise_body(const ImageJob& j, int x, int y, int block) {
  Words4 taps[9];
  FASTCODEC_UNROLL
  for (int t = 0; t < 9; ++t) taps[t] = load_bytes(j.in, x * j.stride + t % 3 - 1, y * j.stride + t / 3 - 1, block);
  int32_t v[kPlaneChannels], add[kPlaneChannels] = {};
  if (j.in2.data) load_run(j.in2, x, y, block, add);
  FASTCODEC_UNROLL
  for (int q = 0; q < 4; ++q) {
    const DepthwiseFour four = depthwise_four({j.weight, j.bias, j.mult}, block * kPlaneChannels + 4 * q);
    uint32_t words[9];
    FASTCODEC_UNROLL
    for (int t = 0; t < 9; ++t) words[t] = taps[t].w[q];
    int32_t out[4];
    if (j.in.type == Dtype::kI8) depthwise_pixel<true>(words, four, out);
    else depthwise_pixel<false>(words, four, out);
    FASTCODEC_UNROLL
    for (int i = 0; i < 4; ++i) v[4 * q + i] = out[i] + add[4 * q + i];
  }
  store_run(j.out, x, y, block, v);
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

// pixel_unshuffle and phase at once, of at most 16 channels: a thread makes a whole pixel.
FASTCODEC_DEV void unshuffle_phase_body(const ImageJob& j, int x, int y) {
  const int moved = 4 * j.in.channels;
  int32_t v[kPlaneChannels] = {};
  FASTCODEC_UNROLL
  for (int i = 0; i < kPlaneChannels; ++i) {
    const int k = i - moved;
    if (k < 0) v[i] = load(j.in, 2 * x + i % 2, 2 * y + i / 2 % 2, i / 4);
    else if (k < 2 * j.n_phases) v[i] = j.table[k * j.period + (k < j.n_phases ? x : y) % j.period];
  }
  store_run(j.out, x, y, 0, v);
}

FASTCODEC_DEV int32_t add_residual(int32_t base, int32_t difference) { return (base + difference + 8) >> 4; }

FASTCODEC_DEV int32_t load_base(const ImageView& v, int x, int y, int c) {
  return v.type == Dtype::kU8 ? load(v, x, y, c) * 16 : load(v, x, y, c);
}

FASTCODEC_DEV void residual_body(const ImageJob& j, int x, int y) {
  for (int c = 0; c < j.out.channels; ++c) store(j.out, x, y, c, add_residual(load_base(j.in2, x, y, c), load(j.in, x, y, c)));
}

// pixel_shuffle and residual at once, of at most 16 channels: a thread makes 2 x 2 pixels, those of them that are in the image.
FASTCODEC_DEV void shuffle_residual_body(const ImageJob& j, int x, int y) {
  int32_t v[kPlaneChannels];
  load_run(j.in, x, y, 0, v);
  // Two pixels of three bytes each are three words of 16 bits.
  const auto has_words = [&](const ImageView& view) {
    const bool aligned = view.width % 2 == 0 && reinterpret_cast<uintptr_t>(view.data) % 2 == 0;
    return view.type == Dtype::kU8 && view.pixel == 3 && view.channels == 3 && aligned;
  };
  const bool words = has_words(j.in2) && has_words(j.out);
  FASTCODEC_UNROLL
  for (int row = 0; row < 2; ++row) {
    const int out_y = 2 * y + row;
    if (out_y >= j.out.height) break;
    if (words) {
      const auto* from = reinterpret_cast<const uint16_t*>(static_cast<const uint8_t*>(j.in2.data) + element(j.in2, 2 * x, out_y, 0));
      auto* to = reinterpret_cast<uint16_t*>(static_cast<uint8_t*>(j.out.data) + element(j.out, 2 * x, out_y, 0));
      FASTCODEC_UNROLL
      for (int k = 0; k < 3; ++k) {
        const uint32_t base = from[k];
        int32_t sum[2];
        FASTCODEC_UNROLL
        for (int b = 0; b < 2; ++b) {
          const int at = 2 * k + b;  // channel at % 3 of pixel at / 3
          sum[b] = add_residual(dev::byte_of<false>(base, b) * 16, v[at % 3 * 4 + row * 2 + at / 3]);
        }
        to[k] = static_cast<uint16_t>(dev::pack_bytes<false>(sum[0], sum[1], 0, 0));
      }
      continue;
    }
    FASTCODEC_UNROLL
    for (int i = 0; i < kPlaneChannels; ++i) {
      const int out_x = 2 * x + i % 2, c = i / 4;
      if (i / 2 % 2 != row || c >= j.out.channels || out_x >= j.out.width) continue;
      store(j.out, out_x, out_y, c, add_residual(load_base(j.in2, out_x, out_y, c), v[i]));
    }
  }
}

// pixel_shuffle twice: plane c of a pixel is channel c of 4 x 4 pixels. A thread makes one row of them, `part` is row and block.
FASTCODEC_DEV void shuffle_twice_body(const ImageJob& j, int x, int y, int part) {
  const int row = part & 3, block = part >> 2;
  FASTCODEC_UNROLL
  for (int right = 0; right < 2; ++right) {  // of the second step
    int32_t v[2][kPlaneChannels];            // left and right of the first
    FASTCODEC_UNROLL
    for (int i = 0; i < kPlaneChannels; ++i) {
      const int c = block * kPlaneChannels + i;
      int32_t pair[2] = {};
      if (c < j.out.channels) load_channels(j.in, x, y, c * 16 + (row & 1) * 8 + right * 4 + (row >> 1) * 2, pair);
      v[0][i] = pair[0];
      v[1][i] = pair[1];
    }
    FASTCODEC_UNROLL
    for (int k = 0; k < 2; ++k) {
      if (j.mult) scale_run(j, block, v[k]);
      store_run(j.out, 4 * x + 2 * k + right, 4 * y + row, block, v[k]);
    }
  }
}

// The threads of an operation: pixels of the output (of pixel_shuffle: of the input) times blocks of channels, or what is said.
struct ImageThreads {
  int width, height, blocks;
};
FASTCODEC_DEV ImageThreads image_threads(const ImageJob& j) {
  const auto blocks = [](const ImageView& v, int n) { return (v.channels + n - 1) / n; };
  switch (j.op) {
    case ImageOp::kCopy:
    case ImageOp::kLookup:
    case ImageOp::kScale: return {j.out.width, j.out.height, blocks(j.out, kPlaneChannels)};
    case ImageOp::kPixelUnshuffle: return {j.out.width, j.out.height, blocks(j.in, kPlaneChannels)};
    case ImageOp::kShuffleResidual: return {j.in.width, j.in.height, 1};
    case ImageOp::kPixelShuffle: return {j.in.width, j.in.height, blocks(j.out, kPlaneChannels)};
    case ImageOp::kPixelShuffleTwice: return {j.in.width, j.in.height, 4 * blocks(j.out, kPlaneChannels)};
    case ImageOp::kDepthwise: return {j.out.width, j.out.height, blocks(j.out, kPlaneChannels)};
    default: return {j.out.width, j.out.height, 1};
  }
}

template <ImageOp kOp>
FASTCODEC_DEV void image_body(const ImageJob& j, int x, int y, int block) {
  switch (kOp) {
    case ImageOp::kCopy: copy_body(j, x, y, block); break;
    case ImageOp::kDepthwise: depthwise_body(j, x, y, block); break;
    case ImageOp::kPixelUnshuffle: unshuffle_body(j, x, y, block); break;
    case ImageOp::kUnshufflePhase: unshuffle_phase_body(j, x, y); break;
    case ImageOp::kPhase: phase_body(j, x, y); break;
    case ImageOp::kScale: scale_body(j, x, y, block); break;
    case ImageOp::kLookup: lookup_body(j, x, y, block); break;
    case ImageOp::kPixelShuffle: shuffle_body(j, x, y, block); break;
    case ImageOp::kPixelShuffleTwice: shuffle_twice_body(j, x, y, block); break;
    case ImageOp::kBicubicUp2: up2_body(j, x, y); break;
    case ImageOp::kBicubicDown2: down2_body(j, x, y); break;
    case ImageOp::kResidual: residual_body(j, x, y); break;
    case ImageOp::kShuffleResidual: shuffle_residual_body(j, x, y); break;
  }
}

}  // namespace fastcodec::cuda

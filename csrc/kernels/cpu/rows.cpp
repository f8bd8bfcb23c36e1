// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernels between the convolutions, row by row, in loops that compilers turn into vector code by themselves. The
// usual channel counts 1, 3 and 12 are compiled as constants. Moving bytes is what compilers are bad at, so for colour
// images instruction sets with pieces do it: what a piece has too much is written over by the next or lies in slack.
#include "kernels/cpu/conv.h"

#include <string.h>

#include FASTCODEC_SIMD

namespace fastcodec::FASTCODEC_ISA {
namespace {

inline uint8_t clamp_u8(int v) { return static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v); }

template <class T, int kChannels>
void unshuffle(const void* const rows[2], int in_pixel, int channels, T* out, int out_pixel, int n_cols) {
  const int n = kChannels ? kChannels : channels;
  const T *top = static_cast<const T*>(rows[0]), *bottom = static_cast<const T*>(rows[1]);
  for (int x = 0; x < n_cols; ++x, top += 2 * in_pixel, bottom += 2 * in_pixel, out += out_pixel) {
    for (int c = 0; c < n; ++c) {
      out[c * 4] = top[c];
      out[c * 4 + 1] = top[in_pixel + c];
      out[c * 4 + 2] = bottom[c];
      out[c * 4 + 3] = bottom[in_pixel + c];
    }
  }
}

#if defined(FASTCODEC_SIMD_PIECES)
void unshuffle_colours(const void* const rows[2], uint8_t* out, int out_pixel, int n_cols) {
  constexpr uint8_t kFrom[16] = {0, 3, 8, 11, 1, 4, 9, 12, 2, 5, 10, 13, 128, 128, 128, 128};
  const Piece from = load_piece(kFrom);
  const auto *top = static_cast<const uint8_t*>(rows[0]), *bottom = static_cast<const uint8_t*>(rows[1]);
  for (int x = 0; x < n_cols; ++x, top += 6, bottom += 6, out += out_pixel) {
    store_piece(out, shuffle_piece(load_halves(top, bottom), from));
  }
}

// i16 of 3 x 4 channels; those of the first two and of the third are 8 elements apart.
void shuffle_colours(const int16_t* in, int in_pixel, int dy, int16_t* out, int n_cols) {
  constexpr uint8_t kFromFirst[16] = {0, 1, 8, 9, 128, 128, 2, 3, 10, 11, 128, 128, 128, 128, 128, 128};
  constexpr uint8_t kFromThird[16] = {128, 128, 128, 128, 0, 1, 128, 128, 128, 128, 2, 3, 128, 128, 128, 128};
  const Piece from_first = load_piece(kFromFirst), from_third = load_piece(kFromThird);
  in += dy * 2;
  for (int x = 0; x < n_cols; ++x, in += in_pixel, out += 6) {
    store_piece(out, either(shuffle_piece(load_piece(in), from_first), shuffle_piece(load_piece(in + 8), from_third)));
  }
}
#endif

template <class T>
void unshuffle_any(const void* const rows[2], int in_pixel, int channels, T* out, int out_pixel, int n_cols) {
  if (channels == 3) unshuffle<T, 3>(rows, in_pixel, channels, out, out_pixel, n_cols);
  else if (channels == 1) unshuffle<T, 1>(rows, in_pixel, channels, out, out_pixel, n_cols);
  else unshuffle<T, 0>(rows, in_pixel, channels, out, out_pixel, n_cols);
}

template <class T, int kChannels>
void shuffle(const T* in, int in_pixel, int channels, int dy, T* out, int out_pixel, int n_cols) {
  const int n = kChannels ? kChannels : channels;
  in += dy * 2;
  for (int x = 0; x < n_cols; ++x, in += in_pixel, out += 2 * out_pixel) {
    for (int c = 0; c < n; ++c) {
      out[c] = in[c * 4];
      out[out_pixel + c] = in[c * 4 + 1];
    }
  }
}

template <class T>
void shuffle_any(const T* in, int in_pixel, int channels, int dy, T* out, int out_pixel, int n_cols) {
  if (channels == 3) shuffle<T, 3>(in, in_pixel, channels, dy, out, out_pixel, n_cols);
  else if (channels == 12) shuffle<T, 12>(in, in_pixel, channels, dy, out, out_pixel, n_cols);
  else if (channels == 1) shuffle<T, 1>(in, in_pixel, channels, dy, out, out_pixel, n_cols);
  else shuffle<T, 0>(in, in_pixel, channels, dy, out, out_pixel, n_cols);
}

inline void store_bicubic(int16_t* out, int32_t sum) { *out = static_cast<int16_t>((sum + (1 << 11)) >> 12); }
inline void store_bicubic(uint8_t* out, int32_t sum) { *out = clamp_u8((sum + (1 << 15)) >> 16); }

// Vertical sums of n values, then along the row: v points at pixel 0 and has 2 pixels on each side.
template <class T, int kChannels>
void up2_row(const int32_t* v, int channels, T* out, int n_cols) {
  const int n = kChannels ? kChannels : channels;
  for (int x = 0; x < n_cols; ++x, v += n, out += 2 * n) {
    for (int c = 0; c < n; ++c) {
      const int32_t l2 = v[c - 2 * n], l1 = v[c - n], m = v[c], r1 = v[c + n], r2 = v[c + 2 * n];
      store_bicubic(out + c, -6 * l2 + 58 * l1 + 222 * m - 18 * r1);
      store_bicubic(out + n + c, -18 * l1 + 222 * m + 58 * r1 - 6 * r2);
    }
  }
}

// v points at pixel 0 and has 3 pixels on the left, 4 on the right of 2 n_cols.
template <class T, int kChannels>
void down2_row(const int32_t* v, int channels, T* out, int n_cols) {
  const int n = kChannels ? kChannels : channels;
  for (int x = 0; x < n_cols; ++x, v += 2 * n, out += n) {
    for (int c = 0; c < n; ++c) {
      const int32_t* p = v + c;
      store_bicubic(out + c, -3 * (p[-3 * n] + p[4 * n]) - 9 * (p[-2 * n] + p[3 * n]) + 29 * (p[-n] + p[2 * n]) +
                                 111 * (p[0] + p[n]));
    }
  }
}

template <class T>
void up2_any(const int32_t* v, int channels, T* out, int n_cols) {
  if (channels == 3) up2_row<T, 3>(v, channels, out, n_cols);
  else if (channels == 1) up2_row<T, 1>(v, channels, out, n_cols);
  else up2_row<T, 0>(v, channels, out, n_cols);
}

template <class T>
void down2_any(const int32_t* v, int channels, T* out, int n_cols) {
  if (channels == 3) down2_row<T, 3>(v, channels, out, n_cols);
  else if (channels == 1) down2_row<T, 1>(v, channels, out, n_cols);
  else down2_row<T, 0>(v, channels, out, n_cols);
}

}  // namespace

void pixel_unshuffle2(const void* const rows[2], int in_pixel, int channels, int element_bytes, void* out,
                      int out_pixel, int n_cols) {
#if defined(FASTCODEC_SIMD_PIECES)
  if (element_bytes == 1 && channels == 3 && in_pixel == 3) {
    return unshuffle_colours(rows, static_cast<uint8_t*>(out), out_pixel, n_cols);
  }
#endif
  if (element_bytes == 1) unshuffle_any(rows, in_pixel, channels, static_cast<uint8_t*>(out), out_pixel, n_cols);
  else unshuffle_any(rows, in_pixel, channels, static_cast<uint16_t*>(out), out_pixel, n_cols);
}

void lookup(const uint8_t* in, int in_pixel, int channels, const uint8_t* table, bool by_channel, uint8_t* out, int out_pixel,
            int n_cols) {
  if (!by_channel && in_pixel == out_pixel) {
    const ptrdiff_t n = static_cast<ptrdiff_t>(n_cols) * in_pixel;
    for (ptrdiff_t i = 0; i < n; ++i) out[i] = table[in[i]];
    return;
  }
  for (int x = 0; x < n_cols; ++x, in += in_pixel, out += out_pixel) {
    for (int c = 0; c < channels; ++c) out[c] = table[(by_channel ? c * 256 : 0) + in[c]];
  }
}

void phase(const uint8_t* in, int in_pixel, int channels, const uint8_t* table, int n_planes, int period, int x0,
           const uint8_t* column, uint8_t* out, int out_pixel, int n_cols) {
  int at = x0 % period;
  constexpr int kMost = 16, kMostPeriod = 64;  // then whole vectors are copied; what is too much is written over or slack
  if (channels <= kMost && 2 * n_planes <= kMost && period <= kMostPeriod) {
    uint8_t tail[kMostPeriod][kMost] = {};
    for (int i = 0; i < period; ++i) {
      for (int k = 0; k < n_planes; ++k) {
        tail[i][k] = table[k * period + i];
        tail[i][n_planes + k] = column[k];
      }
    }
    for (int x = 0; x < n_cols; ++x, in += in_pixel, out += out_pixel) {
      memcpy(out, in, kMost);
      memcpy(out + channels, tail[at], kMost);
      if (++at == period) at = 0;
    }
    return;
  }
  for (int x = 0; x < n_cols; ++x, in += in_pixel, out += out_pixel) {
    for (int c = 0; c < channels; ++c) out[c] = in[c];
    for (int k = 0; k < n_planes; ++k) {
      out[channels + k] = table[k * period + at];
      out[channels + n_planes + k] = column[k];
    }
    if (++at == period) at = 0;
  }
}

void pixel_shuffle2(const void* in, int in_pixel, int channels, int dy, int element_bytes, void* out, int out_pixel,
                    int n_cols) {
#if defined(FASTCODEC_SIMD_PIECES)
  if (element_bytes == 2 && channels == 3 && out_pixel == 3) {
    return shuffle_colours(static_cast<const int16_t*>(in), in_pixel, dy, static_cast<int16_t*>(out), n_cols);
  }
#endif
  if (element_bytes == 1) {
    shuffle_any(static_cast<const uint8_t*>(in), in_pixel, channels, dy, static_cast<uint8_t*>(out), out_pixel, n_cols);
  } else {
    shuffle_any(static_cast<const int16_t*>(in), in_pixel, channels, dy, static_cast<int16_t*>(out), out_pixel, n_cols);
  }
}

size_t bicubic_scratch_bytes(int channels, int n_cols) {
  return (static_cast<size_t>(n_cols) * 2 + 2 * kPadPixels) * channels * sizeof(int32_t);
}

void bicubic_up2(const uint8_t* const rows[4], int channels, int dy, Dtype out_type, void* out, int n_cols,
                 uint8_t* scratch) {
  const int w0 = dy ? -18 : -6, w1 = dy ? 222 : 58, w2 = dy ? 58 : 222, w3 = dy ? -6 : -18;
  const int pad = 2 * channels;
  const uint8_t *r0 = rows[0] - pad, *r1 = rows[1] - pad, *r2 = rows[2] - pad, *r3 = rows[3] - pad;
  auto* v = reinterpret_cast<int32_t*>(scratch);
  for (int i = 0; i < n_cols * channels + 2 * pad; ++i) v[i] = w0 * r0[i] + w1 * r1[i] + w2 * r2[i] + w3 * r3[i];
  if (out_type == Dtype::kI16) up2_any(v + pad, channels, static_cast<int16_t*>(out), n_cols);
  else up2_any(v + pad, channels, static_cast<uint8_t*>(out), n_cols);
}

void bicubic_down2(const uint8_t* const rows[8], int channels, Dtype out_type, void* out, int n_cols,
                   uint8_t* scratch) {
  const int left = 3 * channels, right = 4 * channels;
  auto* v = reinterpret_cast<int32_t*>(scratch);
  for (int i = 0; i < 2 * n_cols * channels + left + right; ++i) {
    const int at = i - left;
    v[i] = -3 * (rows[0][at] + rows[7][at]) - 9 * (rows[1][at] + rows[6][at]) + 29 * (rows[2][at] + rows[5][at]) +
           111 * (rows[3][at] + rows[4][at]);
  }
  if (out_type == Dtype::kI16) down2_any(v + left, channels, static_cast<int16_t*>(out), n_cols);
  else down2_any(v + left, channels, static_cast<uint8_t*>(out), n_cols);
}

void residual(const int16_t* d, int d_pixel, const void* base, Dtype base_type, int base_pixel, int channels,
              uint8_t* out, int out_pixel, int n_cols) {
  // Without gaps between the pixels, the row is one long pixel.
  const bool dense = d_pixel == channels && base_pixel == channels && out_pixel == channels;
  const int n = dense ? n_cols * channels : channels;
  const auto* base8 = static_cast<const uint8_t*>(base);
  const auto* base16 = static_cast<const int16_t*>(base);
  for (int x = 0; x < (dense ? 1 : n_cols); ++x) {
    if (base_type == Dtype::kU8) {
      for (int c = 0; c < n; ++c) out[c] = clamp_u8((base8[c] * 16 + d[c] + 8) >> 4);
    } else {
      for (int c = 0; c < n; ++c) out[c] = clamp_u8((base16[c] + d[c] + 8) >> 4);
    }
    d += d_pixel;
    base8 += base_pixel;
    base16 += base_pixel;
    out += out_pixel;
  }
}

}  // namespace fastcodec::FASTCODEC_ISA

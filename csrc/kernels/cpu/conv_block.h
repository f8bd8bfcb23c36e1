// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// What convolutions share: the product loop in registers, the way from a sum to an output, and zero blocks of weights.
#pragma once

#include "kernels/kernels.h"

#include FASTCODEC_SIMD

namespace fastcodec::FASTCODEC_ISA {
namespace {

// Whether the weights of a 1x1 convolution from output o and input i on are zero, in a block of n_outputs x n_inputs.
inline bool is_zero_block(const ConvShape& s, const int8_t* weight, int o, int n_outputs, int i, int n_inputs) {
  for (int y = o; y < o + n_outputs && y < s.out_channels; ++y) {
    for (int x = i; x < i + n_inputs && x < s.in_channels; ++x) {
      if (weight[y * s.in_channels + x]) return false;
    }
  }
  return true;
}

// acc += products of n_steps groups of input channels (4 bytes of A), for P pixels `step` apart and B vectors of output
// channels; the weights lie in the order of use. Returns the weights behind them.
template <int P, int B, class A, class W>
inline __attribute__((always_inline)) const W* accumulate(V (&acc)[P][B], const A* in, ptrdiff_t step, const W* w, int n_steps) {
  constexpr int kInGroup = 4 / sizeof(A);
  for (int k = 0; k < n_steps; ++k) {
    decltype(load_weights(w)) weights[B];
    for (int b = 0; b < B; ++b) weights[b] = load_weights(w + b * kLanes * kInGroup);
    for (int p = 0; p < P; ++p) {
      const auto x = broadcast(in + p * step);
      for (int b = 0; b < B; ++b) acc[p][b] = dot(acc[p][b], x, weights[b]);
    }
    in += kInGroup;
    w += B * kLanes * kInGroup;
  }
  return w;
}

inline __attribute__((always_inline)) void finish(const ConvArgs& a, V acc, V bias, V mult, int y, ptrdiff_t x, int c) {
  V v = mul_shift_32(add(acc, bias), mult);
  if (a.add) {
    const ptrdiff_t at = x * a.add_pixel + c;
    if (a.add_type == Dtype::kU8) v = add(v, load_u8(static_cast<const uint8_t*>(a.add[y]) + at));
    else if (a.add_type == Dtype::kI8) v = add(v, load_i8(static_cast<const int8_t*>(a.add[y]) + at));
    else v = add(v, load_i16(static_cast<const int16_t*>(a.add[y]) + at));
  }
  const ptrdiff_t at = x * a.out_pixel + c;
  if (a.out_type == Dtype::kU8) store_u8(static_cast<uint8_t*>(a.out[y]) + at, v);
  else if (a.out_type == Dtype::kI8) store_i8(static_cast<int8_t*>(a.out[y]) + at, v);
  else store_i16(static_cast<int16_t*>(a.out[y]) + at, v);
}

// The short way of nearly all layers: u8 outputs, nothing to add.
inline bool is_plain(const ConvArgs& a) { return !a.add && a.out_type == Dtype::kU8; }
inline void finish_plain(uint8_t* out, V acc, V bias, V mult) { store_u8(out, mul_shift_32(add(acc, bias), mult)); }

// The way of residual streams: i16 outputs, i16 or nothing to add.
inline bool is_stream(const ConvArgs& a) { return a.out_type == Dtype::kI16 && (!a.add || a.add_type == Dtype::kI16); }
template <int P, int B, bool kAdd>
inline void finish_stream(const ConvArgs& a, const int32_t* sums, const V (&bias)[B], const V (&mult)[B], int y, ptrdiff_t x,
                          int c) {
  auto* out = static_cast<int16_t*>(a.out[y]) + x * a.out_pixel + c;
  const auto* added = kAdd ? static_cast<const int16_t*>(a.add[y]) + x * a.add_pixel + c : nullptr;
  for (int p = 0; p < P; ++p) {
    for (int b = 0; b < B; ++b, sums += kLanes) {
      V v = mul_shift_32(add(load(sums), bias[b]), mult[b]);
      if (kAdd) v = add(v, load_i16(added + b * kLanes));
      store_i16(out + b * kLanes, v);
    }
    out += a.out_pixel;
    if (kAdd) added += a.add_pixel;
  }
}

// The outputs of P pixels from x of row y on and B vectors of channels from c on; sums[pixel][B][lane].
template <int P, int B>
inline void finish_block(const ConvArgs& a, const int32_t* sums, const V (&bias)[B], const V (&mult)[B], int y, ptrdiff_t x,
                         int c) {
  if (is_stream(a)) {
    if (a.add) finish_stream<P, B, true>(a, sums, bias, mult, y, x, c);
    else finish_stream<P, B, false>(a, sums, bias, mult, y, x, c);
    return;
  }
  if (!is_plain(a)) {
    for (int p = 0; p < P; ++p) {
      for (int b = 0; b < B; ++b) finish(a, load(sums + (p * B + b) * kLanes), bias[b], mult[b], y, x + p, c + b * kLanes);
    }
    return;
  }
  auto* out = static_cast<uint8_t*>(a.out[y]) + x * a.out_pixel + c;
  for (int p = 0; p < P; ++p, out += a.out_pixel) {
    for (int b = 0; b < B; ++b) {
      finish_plain(out + b * kLanes, load(sums + (p * B + b) * kLanes), bias[b], mult[b]);
    }
  }
}

}  // namespace
}  // namespace fastcodec::FASTCODEC_ISA

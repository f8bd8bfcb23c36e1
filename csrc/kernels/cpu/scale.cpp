// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Requantisation of single values, a vector of channels at a time.
#include "kernels/cpu/conv.h"

#include FASTCODEC_SIMD

namespace fastcodec::FASTCODEC_ISA {
namespace {

inline V load_as(const uint8_t* p) { return load_u8(p); }
inline V load_as(const int8_t* p) { return load_i8(p); }
inline V load_as(const int16_t* p) { return load_i16(p); }
inline void store_as(uint8_t* p, V v) { store_u8(p, v); }
inline void store_as(int8_t* p, V v) { store_i8(p, v); }
inline void store_as(int16_t* p, V v) { store_i16(p, v); }

template <class In, class Out>
void scale_row(const In* in, int in_pixel, int channels, const int32_t* mult, const int32_t* bias, Out* out, int out_pixel,
               int n_cols) {
  for (int c = 0; c < channels; c += kLanes) {
    const V m = load(mult + c), b = load(bias + c);
    const In* from = in + c;
    Out* to = out + c;
    for (int x = 0; x < n_cols; ++x, from += in_pixel, to += out_pixel) store_as(to, mul_add_shift_16(load_as(from), m, b));
  }
}

template <class In>
void scale_from(const void* in, int in_pixel, int channels, const int32_t* mult, const int32_t* bias, Dtype out_type,
                void* out, int out_pixel, int n_cols) {
  const In* from = static_cast<const In*>(in);
  if (out_type == Dtype::kU8) scale_row(from, in_pixel, channels, mult, bias, static_cast<uint8_t*>(out), out_pixel, n_cols);
  else if (out_type == Dtype::kI8) scale_row(from, in_pixel, channels, mult, bias, static_cast<int8_t*>(out), out_pixel, n_cols);
  else scale_row(from, in_pixel, channels, mult, bias, static_cast<int16_t*>(out), out_pixel, n_cols);
}

}  // namespace

void scale(const void* in, Dtype in_type, int in_pixel, int channels, const int32_t* mult, const int32_t* bias,
           Dtype out_type, void* out, int out_pixel, int n_cols) {
  if (in_type == Dtype::kU8) scale_from<uint8_t>(in, in_pixel, channels, mult, bias, out_type, out, out_pixel, n_cols);
  else if (in_type == Dtype::kI8) scale_from<int8_t>(in, in_pixel, channels, mult, bias, out_type, out, out_pixel, n_cols);
  else scale_from<int16_t>(in, in_pixel, channels, mult, bias, out_type, out, out_pixel, n_cols);
}

}  // namespace fastcodec::FASTCODEC_ISA

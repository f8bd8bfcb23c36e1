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

template <class In, class Out, bool kNarrow>
void scale_rows(const ScaleArgs& a) {
  for (int c = 0; c < a.channels; c += kLanes) {
    const V mult = load(a.mult + c), bias = load(a.bias + c);
    const In* in = static_cast<const In*>(a.in) + c;
    Out* out = static_cast<Out*>(a.out) + c;
    for (int x = 0; x < a.n_cols; ++x, in += a.in_pixel, out += a.out_pixel) {
      // The high half of mult is 0, so that of the value does not matter.
      if (kNarrow) store_as(out, shift_right<16>(mul_add_pairs(bias, load_as(in), mult)));
      else store_as(out, mul_add_shift_16(load_as(in), mult, bias));
    }
  }
}

template <class In, class Out>
void scale_to(const ScaleArgs& a) {
  if (a.narrow) scale_rows<In, Out, true>(a);
  else scale_rows<In, Out, false>(a);
}

template <class In>
void scale_from(const ScaleArgs& a) {
  if (a.out_type == Dtype::kU8) scale_to<In, uint8_t>(a);
  else if (a.out_type == Dtype::kI8) scale_to<In, int8_t>(a);
  else scale_to<In, int16_t>(a);
}

}  // namespace

void scale(const ScaleArgs& a) {
  if (a.in_type == Dtype::kU8) scale_from<uint8_t>(a);
  else if (a.in_type == Dtype::kI8) scale_from<int8_t>(a);
  else scale_from<int16_t>(a);
}

}  // namespace fastcodec::FASTCODEC_ISA

// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Each kernel as the plain loop that kernels.h describes.
#include "kernels/reference.h"

#include <string.h>

namespace fastcodec::reference {
namespace {

int64_t clamp(int64_t v, int64_t low, int64_t high) { return v < low ? low : v > high ? high : v; }

int load(const void* row, Dtype type, ptrdiff_t i) {
  switch (type) {
    case Dtype::kU8: return static_cast<const uint8_t*>(row)[i];
    case Dtype::kI8: return static_cast<const int8_t*>(row)[i];
    default: return static_cast<const int16_t*>(row)[i];
  }
}

void store(void* row, Dtype type, ptrdiff_t i, int64_t v) {
  switch (type) {
    case Dtype::kU8: static_cast<uint8_t*>(row)[i] = static_cast<uint8_t>(clamp(v, 0, 255)); break;
    case Dtype::kI8: static_cast<int8_t*>(row)[i] = static_cast<int8_t>(clamp(v, -128, 127)); break;
    default: static_cast<int16_t*>(row)[i] = static_cast<int16_t>(clamp(v, -32768, 32767)); break;
  }
}

void conv_plan(ConvShape* s, const int8_t*, int64_t) { s->winograd = false; }

size_t conv_packed_bytes(const ConvShape& s) {
  return static_cast<size_t>(s.out_channels) * s.kernel * s.kernel * (s.depthwise ? 1 : s.in_channels);
}

void conv_pack(const ConvShape& s, const int8_t* weight, uint8_t* packed, int32_t* bias_shift) {
  memcpy(packed, weight, conv_packed_bytes(s));
  memset(bias_shift, 0, s.out_channels * sizeof *bias_shift);
}

bool conv_passes(const ConvShape&, const ConvShape&) { return false; }
int conv_table_length(const ConvShape& s) { return round_up(s.out_channels, kChannelAlign); }
void conv_table(const ConvShape&, int32_t*) {}

size_t conv_scratch_bytes(const ConvShape&, int) { return 0; }

void conv(const ConvArgs& a) {
  const ConvShape& s = a.shape;
  const Dtype in_type = s.wide ? Dtype::kI16 : s.in_signed ? Dtype::kI8 : Dtype::kU8;
  const int n_in = s.depthwise ? 1 : s.in_channels;
  for (int y = 0; y < a.n_rows; ++y) {
    for (int x = 0; x < a.n_cols; ++x) {
      for (int o = 0; o < s.out_channels; ++o) {
        const int8_t* weight = reinterpret_cast<const int8_t*>(a.packed) + o * s.kernel * s.kernel * n_in;
        int32_t acc = 0;
        for (int ky = 0; ky < s.kernel; ++ky) {
          for (int kx = 0; kx < s.kernel; ++kx) {
            for (int i = 0; i < n_in; ++i) {
              const ptrdiff_t at = static_cast<ptrdiff_t>(x * s.stride + kx) * s.in_pixel + (s.depthwise ? o : i);
              acc += *weight++ * load(a.in[y * s.stride + ky], in_type, at);
            }
          }
        }
        int64_t v = (static_cast<int64_t>(acc + a.bias[o]) * a.mult[o]) >> 32;
        if (a.add) v += load(a.add[y], a.add_type, static_cast<ptrdiff_t>(x) * a.add_pixel + o);
        store(a.out[y], a.out_type, static_cast<ptrdiff_t>(x) * a.out_pixel + o, v);
      }
    }
  }
}

void scale(const ScaleArgs& a) {
  for (int x = 0; x < a.n_cols; ++x) {
    for (int c = 0; c < a.channels; ++c) {
      const int64_t v = load(a.in, a.in_type, static_cast<ptrdiff_t>(x) * a.in_pixel + c);
      store(a.out, a.out_type, static_cast<ptrdiff_t>(x) * a.out_pixel + c, (v * a.mult[c] + a.bias[c]) >> 16);
    }
  }
}

void lookup(const uint8_t* in, int in_pixel, int channels, const uint8_t* table, bool by_channel, uint8_t* out, int out_pixel,
            int n_cols) {
  for (int x = 0; x < n_cols; ++x) {
    for (int c = 0; c < channels; ++c) out[x * out_pixel + c] = table[(by_channel ? c * 256 : 0) + in[x * in_pixel + c]];
  }
}

void pixel_unshuffle2(const void* const rows[2], int in_pixel, int channels, int element_bytes, void* out,
                      int out_pixel, int n_cols) {
  const Dtype type = element_bytes == 1 ? Dtype::kI8 : Dtype::kI16;  // moved, never computed with
  for (int x = 0; x < n_cols; ++x) {
    for (int c = 0; c < channels; ++c) {
      for (int dy = 0; dy < 2; ++dy) {
        for (int dx = 0; dx < 2; ++dx) {
          store(out, type, x * out_pixel + c * 4 + dy * 2 + dx, load(rows[dy], type, (2 * x + dx) * in_pixel + c));
        }
      }
    }
  }
}

void phase(const uint8_t* in, int in_pixel, int channels, const uint8_t* table, int n_planes, int period, int x0,
           const uint8_t* column, uint8_t* out, int out_pixel, int n_cols) {
  for (int x = 0; x < n_cols; ++x) {
    for (int c = 0; c < channels; ++c) out[x * out_pixel + c] = in[x * in_pixel + c];
    for (int k = 0; k < n_planes; ++k) {
      out[x * out_pixel + channels + k] = table[k * period + (x0 + x) % period];
      out[x * out_pixel + channels + n_planes + k] = column[k];
    }
  }
}

void pixel_shuffle2(const void* in, int in_pixel, int channels, int dy, int element_bytes, void* out, int out_pixel,
                    int n_cols) {
  const Dtype type = element_bytes == 1 ? Dtype::kI8 : Dtype::kI16;  // moved, never computed with
  for (int x = 0; x < n_cols; ++x) {
    for (int dx = 0; dx < 2; ++dx) {
      for (int c = 0; c < channels; ++c) {
        store(out, type, (2 * x + dx) * out_pixel + c, load(in, type, x * in_pixel + c * 4 + dy * 2 + dx));
      }
    }
  }
}

size_t bicubic_scratch_bytes(int, int) { return 0; }

// One output of a separable filter: n x n taps around in[x0], rows 0..n-1.
int32_t separable_sum(const uint8_t* const* rows, const int* wy, const int* wx, int n, ptrdiff_t x0, int channels, int c) {
  int32_t sum = 0;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) sum += wy[i] * wx[j] * rows[i][(x0 + j) * channels + c];
  }
  return sum;
}

void store_bicubic(void* out, Dtype type, ptrdiff_t i, int32_t sum) {
  store(out, type, i, type == Dtype::kI16 ? (sum + (1 << 11)) >> 12 : (sum + (1 << 15)) >> 16);
}

constexpr int kUp[2][4] = {{-6, 58, 222, -18}, {-18, 222, 58, -6}};
constexpr int kDown[8] = {-3, -9, 29, 111, 111, 29, -9, -3};

void bicubic_up2(const uint8_t* const rows[4], int channels, int dy, Dtype out_type, void* out, int n_cols, uint8_t*) {
  for (int x = 0; x < n_cols; ++x) {
    for (int dx = 0; dx < 2; ++dx) {
      for (int c = 0; c < channels; ++c) {
        const int32_t sum = separable_sum(rows, kUp[dy], kUp[dx], 4, x - 2 + dx, channels, c);
        store_bicubic(out, out_type, (2 * x + dx) * channels + c, sum);
      }
    }
  }
}

void bicubic_down2(const uint8_t* const rows[8], int channels, Dtype out_type, void* out, int n_cols, uint8_t*) {
  for (int x = 0; x < n_cols; ++x) {
    for (int c = 0; c < channels; ++c) {
      store_bicubic(out, out_type, x * channels + c, separable_sum(rows, kDown, kDown, 8, 2 * x - 3, channels, c));
    }
  }
}

void residual(const int16_t* d, int d_pixel, const void* base, Dtype base_type, int base_pixel, int channels,
              uint8_t* out, int out_pixel, int n_cols) {
  for (int x = 0; x < n_cols; ++x) {
    for (int c = 0; c < channels; ++c) {
      const int b = load(base, base_type, x * base_pixel + c);
      const int base16 = base_type == Dtype::kU8 ? b * 16 : b;
      store(out, Dtype::kU8, x * out_pixel + c, (base16 + d[x * d_pixel + c] + 8) >> 4);
    }
  }
}

}  // namespace

const Kernels kernels = {
    "reference", conv_plan, conv_packed_bytes, conv_pack, conv_passes, conv_table_length, conv_table, conv_scratch_bytes,
    conv, scale, lookup, pixel_unshuffle2, phase, pixel_shuffle2, bicubic_scratch_bytes, bicubic_up2, bicubic_down2, residual,
};

}  // namespace fastcodec::reference

// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// What each kernel means and takes, once. reference.cpp is the plain loop for each; cpu/ is compiled once for each
// instruction set; all of them give exactly the same integers.
//
// Rows. A kernel works on rows of pixels in NHWC order: channel c of pixel x of a row lies at row[x * pixel + c], where
// `pixel` (elements between pixels) is at least the number of channels. Around the pixels that a call names, a row has
// room on both sides:
//   - kPadPixels pixels on the left and on the right that hold true neighbours or, at the image border, copies of the
//     edge pixel;
//   - behind the right pad kSlackPixels and then kSlackBytes more that may be read and written and mean nothing.
// So a kernel may compute whole blocks of up to kBlockPixels pixels, and nothing in a row is ever out of bounds.
// Rows above and below the image are repeated row pointers. Output rows never alias input rows.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace fastcodec {

constexpr int kPadPixels = 4;       // the widest kernel, bicubic_down2, reads 3 pixels left and 4 right
constexpr int kBlockPixels = 16;    // a kernel may compute this many pixels at once, whatever n_cols
constexpr int kSlackPixels = 2 * kBlockPixels + 4;  // read by a block of stride 2
constexpr int kSlackBytes = 128;
constexpr int kChannelAlign = 16;   // `pixel` of a convolution's output is a multiple of this
constexpr int kMaxRows = 4;         // output rows of one call of a convolution

enum class Dtype : uint8_t { kU8, kI8, kI16 };

struct ConvShape {
  int in_channels;   // depthwise: == out_channels
  int out_channels;
  int kernel;        // 1 or 3
  int stride;        // 1 or 2
  bool depthwise;    // kernel 3
  bool in_signed;    // input i8 instead of u8
  bool wide;         // input i16 instead; kernel 1, not depthwise
  int in_pixel;      // elements between input pixels, fixed when the weights are packed
  bool winograd;     // set by conv_plan
  int n_blocks = 0;  // set by conv_plan: non-zero blocks of weights, 0 = dense
  int n_joins = 0;   // set by conv_plan: by sums of 16 bits, so many; 0 = not
  bool tiles = false;  // set by conv_plan: by tile products
  bool own_in = false;   // the input, or the output, lies as the kernels like it, see conv_passes
  bool own_out = false;
};

// y = clamp(((acc + bias) * mult >> 32) + add), acc = sum over taps and input channels of weight * x, the product with
// mult in 64 bits and the shift arithmetic, clamped to the range of out_type. The caller proves that acc + bias fits
// 32 bits.
struct ConvArgs {
  ConvShape shape;
  const uint8_t* packed;       // from conv_pack, 64-byte aligned
  const int32_t* bias;         // [conv_table_length], 64-byte aligned; bias_shift of conv_pack added
  const int32_t* mult;         // the same; 0 < mult
  const uint8_t* const* in;    // (n_rows - 1) * stride + kernel rows of u8, i8 or i16, each at its pixel
                               // x * stride - kernel / 2 for the first output pixel x
  void* const* out;            // n_rows rows; channels up to round_up(out_channels, kChannelAlign) may be written
  Dtype out_type;
  int out_pixel;               // round_up(out_channels, kChannelAlign)
  const void* const* add;      // null, or n_rows rows at the first output pixel, readable like an output row
  Dtype add_type;
  int add_pixel;
  int n_rows;                  // 1..kMaxRows
  int n_cols;                  // output pixels
  uint8_t* scratch;            // conv_scratch_bytes, 64-byte aligned
};

struct ScaleArgs {
  const void* in;
  Dtype in_type;
  int in_pixel;
  int channels;
  const int32_t* mult;
  const int32_t* bias;
  bool narrow;  // all mult < 2^15 and 2^15 * mult + |bias| < 2^31: 32 bits hold everything
  void* out;
  Dtype out_type;
  int out_pixel;
  int n_cols;
};

struct Kernels {
  const char* name;

  // Convolution and depthwise convolution. conv_plan chooses the method, given the weights and a bound of |acc| over all
  // inputs. conv_pack rearranges the weights ([O][k][k][I], depthwise [C][3][3]) into conv_packed_bytes bytes and says in bias_shift[O] what
  // to add to each bias modulo 2^32.
  void (*conv_plan)(ConvShape* shape, const int8_t* weight, int64_t max_abs_acc);
  size_t (*conv_packed_bytes)(const ConvShape& shape);
  void (*conv_pack)(const ConvShape& shape, const int8_t* weight, uint8_t* packed, int32_t* bias_shift);
  // Whether a u8 value that goes from one convolution, with nothing to add, to a 1x1 convolution of stride 1 and nowhere else
  // may lie in its rows in an order of the kernels' own; then own_out and own_in are set, and n_cols is the same for both.
  bool (*conv_passes)(const ConvShape& from, const ConvShape& to);
  // The tables of a convolution begin with round_up(out_channels, kChannelAlign) entries; conv_table writes those behind.
  int (*conv_table_length)(const ConvShape& shape);
  void (*conv_table)(const ConvShape& shape, int32_t* table);
  size_t (*conv_scratch_bytes)(const ConvShape& shape, int n_cols);
  void (*conv)(const ConvArgs& args);

  // out = clamp((in * mult[c] + bias[c]) >> 16) to the range of out_type, product and sum in 64 bits, the shift arithmetic;
  // 0 < mult. Both tables have round_up(channels, kChannelAlign) entries, and so many channels of `in` may be read and of
  // `out` written: out_pixel is at least that.
  void (*scale)(const ScaleArgs& args);
  // out = table[in], by bytes; table [256], or if by_channel [channels][256]. Only channels of a pixel mean anything, but with one
  // table all in_pixel of them may be written if that is out_pixel.
  void (*lookup)(const uint8_t* in, int in_pixel, int channels, const uint8_t* table, bool by_channel, uint8_t* out,
                 int out_pixel, int n_cols);
  // out[x][c * 4 + dy * 2 + dx] = rows[dy][2 x + dx][c]; elements of `element_bytes` 1 or 2
  void (*pixel_unshuffle2)(const void* const rows[2], int in_pixel, int channels, int element_bytes, void* out,
                           int out_pixel, int n_cols);
  // out[x] = the C channels of in[x], then table[k][(x0 + x) mod period] for k < K, then column[k] for k < K
  void (*phase)(const uint8_t* in, int in_pixel, int channels, const uint8_t* table, int n_planes, int period, int x0,
                const uint8_t* column, uint8_t* out, int out_pixel, int n_cols);
  // out[2 x + dx][c] = in[x][c * 4 + dy * 2 + dx] for n_cols input pixels; `channels` of the output
  void (*pixel_shuffle2)(const void* in, int in_pixel, int channels, int dy, int element_bytes, void* out,
                         int out_pixel, int n_cols);
  // Bicubic (Keys, a = -1/2) with factor 2. S is the exact integer sum of scale 2^16; out_type i16: (S + 2^11) >> 12,
  // u8: clamp((S + 2^15) >> 16). in_pixel == out_pixel == channels.
  // up: output row 2 i + dy from rows i - 2 + dy .. i + 1 + dy; 2 n_cols pixels from n_cols; weights (-6, 58, 222, -18)
  // for even outputs at x - 2 .. x + 1, mirrored for odd ones at x - 1 .. x + 2.
  // down: output row i from rows 2 i - 3 .. 2 i + 4, n_cols pixels; weights (-3, -9, 29, 111, 111, 29, -9, -3).
  // scratch: bicubic_scratch_bytes.
  size_t (*bicubic_scratch_bytes)(int channels, int n_cols);
  void (*bicubic_up2)(const uint8_t* const rows[4], int channels, int dy, Dtype out_type, void* out, int n_cols,
                      uint8_t* scratch);
  void (*bicubic_down2)(const uint8_t* const rows[8], int channels, Dtype out_type, void* out, int n_cols,
                        uint8_t* scratch);
  // out = clamp((base16 + d + 8) >> 4) to u8, base16 = base * 16 for a u8 base, base for an i16 one
  void (*residual)(const int16_t* d, int d_pixel, const void* base, Dtype base_type, int base_pixel, int channels,
                   uint8_t* out, int out_pixel, int n_cols);
};

static inline constexpr int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace fastcodec

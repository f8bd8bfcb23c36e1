// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// 1x1 convolution for instruction sets whose only product of bytes, a0 w0 + a1 w1 of u8 and int8 in 16 bits, saturates.
// It takes half as many instructions as products of 16 bits, if two such sums are added before they are widened to 32
// bits. Both are exact for all activations where the weights are small enough, which is settled when they are packed:
//   - one sum does not saturate: w0 + w1 of the same sign are at most kMaxPair together;
//   - two joined sums fit 16 bits once an offset, of each output and join, moves them to the middle; in between they may
//     wrap around. The distance from the smallest to the largest possible result is 255 (|w0| + |w1| + |w2| + |w3|).
// What a pair has too much goes into a second block of weights for the same inputs. An order of the inputs is sought that
// leaves few such pairs. Joins without weights are left out, so zero blocks of weights cost nothing here either.
#include <string.h>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/conv_block.h"

namespace fastcodec::FASTCODEC_ISA {

#if defined(FASTCODEC_SIMD_JOINED)
namespace {

constexpr int kMaxPair = 128;     // 255 * 128 < 2^15
constexpr int kMaxJoined = 257;   // 255 * 257 < 2^16
constexpr int kInputs = 4;        // of a block of kLanes outputs: those of one broadcast
constexpr int kPiece = 16;        // inputs that may change places
constexpr int kMaxInputs = 512, kMaxOutputs = 1024;
constexpr int kMaxBlocks = 2 * kMaxInputs / kInputs;  // of a vector of outputs
constexpr int kJoinPixels = 8;
constexpr int kChunkPixels = 96;  // columns that pass through all channels while they are in the L1 cache
constexpr int kOffset = kLanes * 8;                  // bytes of the weights of a join; then int16 offset[kLanes][2]
constexpr int kJoinBytes = kOffset + kLanes * 4;

static_assert(kChunkPixels % kJoinPixels == 0 && kJoinPixels <= kBlockPixels, "a block must end inside the slack of a row");

constexpr int kSums = kLanes * kInputs / 2;

struct Block {
  int input;  // the first
  int8_t weight[kLanes][kInputs];
  int16_t sum[kSums];  // of the magnitudes of each two
};

struct Join {
  int32_t input[2];  // of the two blocks, in the order of the layer
};

int n_vectors(const ConvShape& s) { return round_up(s.out_channels, kLanes) / kLanes; }

int8_t weight_at(const ConvShape& s, const int8_t* weight, int o, int i) {
  return o < s.out_channels && i < s.in_channels ? weight[o * s.in_channels + i] : 0;
}

// What is to be taken off one of two weights so that they do not saturate; they are of one sign then.
int excess(int sum) { return sum > kMaxPair ? sum - kMaxPair : sum < -kMaxPair ? sum + kMaxPair : 0; }

// Vectors of outputs in which some weights of two inputs saturate.
int pair_cost(const int8_t* a, const int8_t* b, int n_vectors) {
  int cost = 0;
  for (; n_vectors; --n_vectors, a += kLanes, b += kLanes) {
    bool saturates = false;
    for (int lane = 0; lane < kLanes; ++lane) saturates |= excess(a[lane] + b[lane]) != 0;
    cost += saturates;
  }
  return cost;
}

// Order of the inputs of each piece, so that position p takes input order[p]: two change places as long as that helps; where
// there are zero blocks, only inside a block.
void find_order(const ConvShape& s, const int8_t* weight, uint8_t* order) {
  for (int first = 0; first < s.in_pixel; first += kPiece, order += kPiece) {
    int8_t column[kPiece][kMaxOutputs];
    int cost[kPiece][kPiece];
    for (int i = 0; i < kPiece; ++i) {
      order[i] = static_cast<uint8_t>(i);
      for (int o = 0; o < n_vectors(s) * kLanes; ++o) column[i][o] = weight_at(s, weight, o, first + i);
      for (int j = 0; j <= i; ++j) cost[i][j] = cost[j][i] = pair_cost(column[i], column[j], n_vectors(s));
    }
    for (bool better = true; better;) {
      better = false;
      for (int p = 0; p < kPiece; ++p) {
        const int end = s.n_blocks ? p / kInputs * kInputs + kInputs : kPiece;
        for (int q = p / 2 * 2 + 2; q < end; ++q) {
          const int a = order[p], b = order[q], with_a = order[p ^ 1], with_b = order[q ^ 1];
          if (cost[b][with_a] + cost[a][with_b] >= cost[a][with_a] + cost[b][with_b]) continue;
          order[p] = static_cast<uint8_t>(b);
          order[q] = static_cast<uint8_t>(a);
          better = true;
        }
      }
    }
  }
}

// Adds a block to n of them, if it is not zero.
void add_block(Block block, Block* blocks, int* n) {
  bool is_zero = true;
  for (int i = 0; i < kSums; ++i) {
    const int8_t* w = block.weight[i * 2 / kInputs] + i * 2 % kInputs;
    block.sum[i] = static_cast<int16_t>((w[0] < 0 ? -w[0] : w[0]) + (w[1] < 0 ? -w[1] : w[1]));
    is_zero &= block.sum[i] == 0;
  }
  if (!is_zero) blocks[(*n)++] = block;
}

// The blocks of a vector of outputs; first those that hold the weights, then those of what was too much.
int split_blocks(const ConvShape& s, const int8_t* weight, const uint8_t* order, int vector, Block* blocks) {
  int n = 0, n_more = 0;
  Block* more = blocks + kMaxBlocks / 2;
  for (int input = 0; input < s.in_pixel; input += kInputs) {
    Block main{input, {}, {}}, rest{input, {}, {}};
    for (int k = 0; k < kInputs; ++k) {
      const int at = input + k, i = at / kPiece * kPiece + order[at];
      for (int lane = 0; lane < kLanes; ++lane) main.weight[lane][k] = weight_at(s, weight, vector * kLanes + lane, i);
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int k = 0; k < kInputs; k += 2) {
        int8_t* w = main.weight[lane] + k;
        const int too_much = excess(w[0] + w[1]);
        w[0] = static_cast<int8_t>(w[0] - too_much);
        rest.weight[lane][k] = static_cast<int8_t>(too_much);
      }
    }
    add_block(main, blocks, &n);
    add_block(rest, more, &n_more);
  }
  for (int i = 0; i < n_more; ++i) blocks[n++] = more[i];
  return n;
}

bool may_join(const Block& a, const Block& b) {
  int16_t largest = 0;
  for (int i = 0; i < kSums; ++i) {
    const auto sum = static_cast<int16_t>(a.sum[i] + b.sum[i]);
    largest = sum > largest ? sum : largest;
  }
  return largest <= kMaxJoined;
}

int largest_sum(const Block& block) {
  int largest = 0;
  for (const int16_t sum : block.sum) largest = sum > largest ? sum : largest;
  return largest;
}

// Joins of a vector of outputs: calls found(a, b) for each, a block that is left alone with one of zeros. Those that are hard
// to join come first.
template <class F>
void join_blocks(const ConvShape& s, const int8_t* weight, const uint8_t* order, int vector, F found) {
  Block blocks[kMaxBlocks];
  const int n = split_blocks(s, weight, order, vector, blocks);
  const Block* sorted[kMaxBlocks];
  int largest[kMaxBlocks];
  for (int i = 0; i < n; ++i) {
    const int own = largest_sum(blocks[i]);
    int at = i;
    for (; at > 0 && largest[at - 1] < own; --at) {
      sorted[at] = sorted[at - 1];
      largest[at] = largest[at - 1];
    }
    sorted[at] = &blocks[i];
    largest[at] = own;
  }
  bool taken[kMaxBlocks] = {};
  for (int i = 0; i < n; ++i) {
    if (taken[i]) continue;
    int j = i + 1;
    while (j < n && (taken[j] || !may_join(*sorted[i], *sorted[j]))) ++j;
    if (j < n) taken[j] = true;
    found(*sorted[i], j < n ? *sorted[j] : Block{sorted[i]->input, {}, {}});
  }
}

// Packed weights: order[in_pixel], then from multiples of 64 bytes on int32 first[n_vectors + 1], the joins of each vector;
// Join[n_joins]; and for each join the weights of its two blocks and its offsets.
size_t order_bytes(const ConvShape& s) { return round_up(s.in_pixel, 64); }
size_t lists_bytes(const ConvShape& s) { return round_up((n_vectors(s) + 1 + 2 * s.n_joins) * static_cast<int>(sizeof(int32_t)), 64); }

void pack_join(const Block& a, const Block& b, uint8_t* packed, int32_t* offset_sum) {
  for (int o = 0; o < kLanes; ++o) {
    memcpy(packed + o * kInputs, a.weight[o], kInputs);
    memcpy(packed + (kLanes + o) * kInputs, b.weight[o], kInputs);
    for (int k = 0; k < kInputs; k += 2) {
      int negative = 0;
      for (int i = k; i < k + 2; ++i) {
        negative += (a.weight[o][i] < 0 ? a.weight[o][i] : 0) + (b.weight[o][i] < 0 ? b.weight[o][i] : 0);
      }
      const int offset = -(1 << 15) - 255 * negative;  // then the smallest possible sum is -2^15
      const auto low = static_cast<int16_t>(offset);
      memcpy(packed + kOffset + (o * 2 + k / 2) * sizeof low, &low, sizeof low);
      offset_sum[o] += offset;
    }
  }
}

// Inputs of n pixels in their order, and as u8.
void stage_ordered(const uint8_t* row, const uint8_t* order, ptrdiff_t pixel, int n, bool is_signed, uint8_t* out) {
  for (ptrdiff_t c = 0; c < pixel; c += kPiece) {
    const Piece from = load_piece(order + c), flip = broadcast_piece(is_signed ? 0x80 : 0);
    for (int x = 0; x < n; ++x) {
      store_piece(out + x * pixel + c, exclusive_or(shuffle_piece(load_piece(row + x * pixel + c), from), flip));
    }
  }
}

// start + sums of kJoinPixels pixels, `step` apart, for a vector of outputs: sums[pixel][lane].
inline void sum_joins(V start, const uint8_t* in, ptrdiff_t step, const Join* joins, int n, const uint8_t* packed, int32_t* sums) {
  V acc[kJoinPixels];
  const ptrdiff_t step_3 = once(3 * step);
  for (V& v : acc) v = start;
  for (; n; --n, ++joins, packed += kJoinBytes) {
    const V a = load_aligned(packed), b = load_aligned(packed + kLanes * kInputs), offset = load_aligned(packed + kOffset);
    const uint8_t *x = in + joins->input[0], *y = in + joins->input[1];
    for (int p = 0; p < kJoinPixels; p += 4, x += 4 * step, y += 4 * step) {  // addresses of one instruction
      acc[p] = add_joined(acc[p], x, a, y, b, offset);
      acc[p + 1] = add_joined(acc[p + 1], x + step, a, y + step, b, offset);
      acc[p + 2] = add_joined(acc[p + 2], x + 2 * step, a, y + 2 * step, b, offset);
      acc[p + 3] = add_joined(acc[p + 3], x + step_3, a, y + step_3, b, offset);
    }
  }
  for (V& v : acc) {
    store(sums, v);
    sums += kLanes;
  }
}

// `sums` begin with the bias.
void finish_joined(const ConvArgs& a, const int32_t* sums, int y, ptrdiff_t x, int c) {
  const V mult = load(a.mult + c), mult_odd = odd_lanes(mult);
  if (!is_plain(a)) {
    const V none[1] = {zero()}, mults[1] = {mult};
    return finish_block<kJoinPixels, 1>(a, sums, none, mults, y, x, c);
  }
  uint8_t* out = static_cast<uint8_t*>(a.out[y]) + x * a.out_pixel + c;
  for (int p = 0; p < kJoinPixels; p += 4, out += 4 * static_cast<ptrdiff_t>(a.out_pixel)) {
    V v[4];
    for (int i = 0; i < 4; ++i) v[i] = load(sums + (p + i) * kLanes);
    store_u8_quad(out, a.out_pixel, v, mult, mult_odd);
  }
}

}  // namespace

int conv_joined_joins(const ConvShape& s, const int8_t* weight) {
  if (s.depthwise || s.kernel != 1 || s.in_pixel % kPiece || s.in_pixel > kMaxInputs || s.out_channels > kMaxOutputs) return 0;
  uint8_t order[kMaxInputs];
  find_order(s, weight, order);
  int n = 0;
  for (int v = 0; v < n_vectors(s); ++v) join_blocks(s, weight, order, v, [&](const Block&, const Block&) { ++n; });
  // A join takes 3 products, other methods 2 for each block.
  const int n_blocks = s.n_blocks ? s.n_blocks : n_vectors(s) * s.in_pixel / kInputs;
  return 3 * n < 2 * n_blocks ? n : 0;
}

size_t conv_joined_packed_bytes(const ConvShape& s) {
  return order_bytes(s) + lists_bytes(s) + static_cast<size_t>(s.n_joins) * kJoinBytes;
}

void conv_joined_pack(const ConvShape& s, const int8_t* weight, uint8_t* packed, int32_t* bias_shift) {
  memset(packed, 0, conv_joined_packed_bytes(s));
  find_order(s, weight, packed);
  auto* first = reinterpret_cast<int32_t*>(packed + order_bytes(s));
  auto* joins = reinterpret_cast<Join*>(first + n_vectors(s) + 1);
  uint8_t* out = packed + order_bytes(s) + lists_bytes(s);
  for (int v = 0; v < n_vectors(s); ++v) {
    int32_t offset_sum[kLanes] = {};
    first[v + 1] = first[v];
    join_blocks(s, weight, packed, v, [&](const Block& a, const Block& b) {
      joins[first[v + 1]++] = {{a.input, b.input}};
      pack_join(a, b, out, offset_sum);
      out += kJoinBytes;
    });
    for (int o = v * kLanes; o < (v + 1) * kLanes && o < s.out_channels; ++o) {
      bias_shift[o] = -offset_sum[o % kLanes];
      for (int i = 0; s.in_signed && i < s.in_channels; ++i) bias_shift[o] -= 128 * weight[o * s.in_channels + i];
    }
  }
}

size_t conv_joined_scratch_bytes(const ConvShape& s) { return static_cast<size_t>(kChunkPixels) * s.stride * s.in_pixel; }

void conv_joined(const ConvArgs& a) {
  const ConvShape& s = a.shape;
  const ptrdiff_t step = static_cast<ptrdiff_t>(s.stride) * s.in_pixel;
  const auto* first = reinterpret_cast<const int32_t*>(a.packed + order_bytes(s));
  const auto* joins = reinterpret_cast<const Join*>(first + n_vectors(s) + 1);
  const uint8_t* weights = a.packed + order_bytes(s) + lists_bytes(s);
  for (int y = 0; y < a.n_rows; ++y) {
    for (int x = 0; x < a.n_cols; x += kChunkPixels) {
      const int n = a.n_cols - x < kChunkPixels ? a.n_cols - x : kChunkPixels;
      stage_ordered(a.in[y * s.stride] + x * step, a.packed, s.in_pixel, (round_up(n, kJoinPixels) - 1) * s.stride + 1,
                    s.in_signed, a.scratch);
      for (int v = 0; v < n_vectors(s); ++v) {
        for (int i = 0; i < n; i += kJoinPixels) {
          alignas(64) int32_t sums[kJoinPixels * kLanes];
          sum_joins(load(a.bias + v * kLanes), a.scratch + i * step, step, joins + first[v], first[v + 1] - first[v],
                    weights + static_cast<ptrdiff_t>(first[v]) * kJoinBytes, sums);
          finish_joined(a, sums, y, x + i, v * kLanes);
        }
      }
    }
  }
}

#else  // an instruction set with better products, or with none

int conv_joined_joins(const ConvShape&, const int8_t*) { return 0; }
size_t conv_joined_packed_bytes(const ConvShape&) { return 0; }
void conv_joined_pack(const ConvShape&, const int8_t*, uint8_t*, int32_t*) {}
size_t conv_joined_scratch_bytes(const ConvShape&) { return 0; }
void conv_joined(const ConvArgs&) {}

#endif

}  // namespace fastcodec::FASTCODEC_ISA

// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// A packed program: a short list of integer operations on images, checked once when it is loaded, so that running it
// cannot fail but for wrong arguments or lack of memory. docs: the operations are in tests/interpreter.py, each as a plain
// loop in NumPy.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <variant>
#include <vector>

#include "kernels/kernels.h"

namespace fastcodec {

constexpr int kMaxOps = 256;
constexpr int kMaxChannels = 1024;
constexpr int kMaxLevels = 256;
constexpr int kMaxPlanes = 64;  // of each direction in `phase`
constexpr int kMaxPhasePeriod = 4096;
constexpr int kMaxImageSide = 1 << 20;
constexpr size_t kMaxProgramBytes = size_t{1} << 30;  // of a loaded program

// ---- what is loaded: names and attributes as they stand in the model file ---------------------------------------
using Attribute = std::variant<int64_t, std::string, std::vector<std::string>>;
using OpSpec = std::map<std::string, Attribute>;

struct TensorView {
  enum class Type { kU8, kI8, kI32 } type;
  std::vector<int64_t> shape;
  const void* data;  // dense, row-major
};

struct InputSpec {
  int64_t channels;
  std::string type = "u8";
};

struct ProgramSpec {
  std::map<std::string, InputSpec> inputs;
  std::string output;
  int64_t n_levels;
  std::vector<OpSpec> ops;
  std::map<std::string, TensorView> tensors;
};

// ---- what is run ------------------------------------------------------------------------------------------------
// The size of a value as a function of the image's: `downs` times ceil(n / 2), then `ups` times 2 n. (Doubling and
// halving again changes nothing, so every chain of both has this form, and two values have the same size for every
// image exactly when both numbers are equal.)
struct Scale {
  int downs = 0;
  int ups = 0;
  bool requested = false;  // the size that the caller asks for: the result, which may be cropped

  int apply(int n) const;
  bool operator==(const Scale& o) const { return downs == o.downs && ups == o.ups && requested == o.requested; }
};

enum class OpKind {
  kInput, kPixelUnshuffle, kPhase, kConv, kScale, kLookup, kPixelShuffle, kBicubicUp2, kBicubicDown2, kResidual, kStore
};

struct FreeAligned {
  void operator()(uint8_t* p) const;
};
using AlignedBytes = std::unique_ptr<uint8_t[], FreeAligned>;
// n bytes aligned to 64, zeroed or as they are. Both throw std::bad_alloc.
AlignedBytes allocate_aligned(size_t n_bytes);
AlignedBytes allocate_aligned_raw(size_t n_bytes);

// One row of a level table.
template <class T>
struct Aligned64 {
  using value_type = T;
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{64})); }
  void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t{64}); }
  bool operator==(const Aligned64&) const { return true; }
  bool operator!=(const Aligned64&) const { return false; }
};
using TableRow = std::vector<int32_t, Aligned64<int32_t>>;

// A convolution, or some of its groups of channels, as the CPU's kernels take it.
struct ConvPart {
  ConvShape conv;
  AlignedBytes packed;
  size_t packed_bytes = 0;
  std::vector<TableRow> bias, mult;  // [levels or 1][conv_table_length], what conv_pack wants added
};

// One operation and the value it produces. Operation 0 is the input, the last one stores the result.
struct Op {
  OpKind kind;
  std::string name;           // of the value, for messages
  int in[2] = {-1, -1};       // operations whose values it reads; [1] is `add` of a convolution or the base of residual
  // the value
  int channels = 0;
  int pixel = 0;              // elements between its pixels
  Dtype type = Dtype::kU8;
  Scale scale;
  std::vector<int> readers;   // operations that read it, ascending
  bool passing = false;       // a convolution's that one 1x1 convolution of stride 1 alone reads, see execute.cpp
  // convolution
  ConvShape conv{};                        // of all channels
  std::vector<ConvPart> parts;             // one, or several of equal size
  int groups = 1;
  std::vector<int8_t> weight;              // as loaded, [O][k][k][I / groups], depthwise [C][3][3]; as many multiplications a pixel
  // convolution and scale
  std::vector<TableRow> bias;              // [levels or 1][round_up(channels)]
  std::vector<TableRow> mult;
  int fold = 1;                            // scale: so many pixels are one for the kernel, and the tables repeat
  bool narrow = false;                     // scale: see ScaleArgs
  // phase and lookup
  std::vector<uint8_t> table;  // [2][n_planes][period]; [1 or channels][256], by the bytes of the input as unsigned numbers
  int n_planes = 0;
  int period = 0;

  int element_bytes() const { return type == Dtype::kI16 ? 2 : 1; }
  int pixel_bytes() const { return pixel * element_bytes(); }
  // The weights of one of n equal parts of whole groups, without what reads other parts, with zeros between its groups.
  std::vector<int8_t> dense_weight(int part, int n_parts) const;
  // What a loaded operation takes, about.
  size_t bytes() const;
};

// Half-open range of rows or columns.
struct Range {
  int lo;
  int hi;
};

class Program {
 public:
  // Throws kModel, naming the operation, for anything that is not a valid program.
  Program(const ProgramSpec& spec, const Kernels& kernels);

  const std::vector<Op>& ops() const { return ops_; }
  const Kernels& kernels() const { return *kernels_; }
  int in_channels() const { return ops_.front().channels; }
  int out_channels() const { return ops_.back().channels; }
  int n_levels() const { return n_levels_; }
  Dtype in_type() const { return ops_.front().type; }
  Dtype out_type() const { return ops_.back().type; }
  // log2 of output size over image size: 1, 0, -1 ...
  int scale_log2() const { return scale_log2_; }
  // What a part of an image gives, given alone: a window whose edges are multiples of `align` input pixels, or edges of the
  // image, has the true result wherever it reaches `halo` pixels, a multiple of align, further on every side.
  int align() const { return align_; }
  int halo() const { return halo_; }
  // What the loaded program takes, about: weights as loaded and as the kernels have them, and tables.
  size_t bytes() const { return bytes_; }
  // Multiplications of all convolutions for an image of that size, with sides of 1 to kMaxImageSide.
  int64_t macs(int height, int width) const;

 private:
  void add_op(const OpSpec& spec, const ProgramSpec& program);
  void find_passing();
  void measure_reach();

  const Kernels* kernels_;
  std::vector<Op> ops_;
  std::map<std::string, int> by_name_;
  int n_levels_ = 0;
  size_t bytes_ = 0;
  int scale_log2_ = 0;
  int align_ = 1;
  int halo_ = 0;
};

// The rows (or columns) of input `which` that rows (or columns) `out` of the operation read, not yet clamped to the image;
// 0 <= out.lo < out.hi.
Range input_range(const Op& op, int which, Range out);

struct RunArgs {
  const uint8_t* image;  // [height][width][in_channels] of in_type, aligned to it
  int height;
  int width;
  int level;
  int out_height;  // of the whole result
  int out_width;
  int x, y, n_cols, n_rows;  // the region wanted
  uint8_t* out;              // [n_rows][n_cols][out_channels] of out_type, aligned to it
  int n_threads;
  size_t max_memory_bytes;   // of the work space; 0 = no limit
};

// Checks everything but the pointers. Throws kValue.
void check_run(const Program& program, const RunArgs& args);
// Bytes of work space that run_program would allocate, all threads together.
size_t work_space_bytes(const Program& program, const RunArgs& args);
// Runs on the CPU. The result depends on nothing but program, image, level and region. Throws kValue or kLimit,
// before the first output byte is written, or std::bad_alloc.
void run_program(const Program& program, const RunArgs& args);

}  // namespace fastcodec

// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Loading: every rule a program must keep is checked here.
#include "model/program.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>
#include <optional>
#include <set>

#include "common/error.h"

namespace fastcodec {
namespace {

std::optional<Dtype> dtype_of(const std::string& name) {
  if (name == "u8") return Dtype::kU8;
  if (name == "i8") return Dtype::kI8;
  if (name == "i16") return Dtype::kI16;
  return std::nullopt;
}

// Reads the attributes of one operation and makes the messages about it.
class OpReader {
 public:
  OpReader(const OpSpec& spec, const ProgramSpec& program, size_t index) : spec_(spec), program_(program) {
    label_ = "op " + std::to_string(index);
    kind_ = text("op");
    label_ += " (" + kind_;
    out_ = text("out");
    label_ += " '" + out_ + "')";
  }
  const std::string& kind() const { return kind_; }
  const std::string& out() const { return out_; }

  [[noreturn]] void fail(const std::string& message) const { throw Error(ErrorCode::kModel, label_ + ": " + message); }
  void require(bool ok, const std::string& message) const {
    if (!ok) fail(message);
  }
  void only_keys(std::set<std::string> keys) const {
    keys.insert({"op", "in", "out"});
    for (const auto& [key, value] : spec_) require(keys.count(key), "unknown key '" + key + "'");
  }
  bool has(const std::string& key) const { return spec_.count(key) != 0; }
  const std::string& text(const std::string& key) const { return get<std::string>(key, "a string"); }
  int64_t integer(const std::string& key) const { return get<int64_t>(key, "an integer"); }
  const std::vector<std::string>& names(const std::string& key, size_t n) const {
    const auto& list = get<std::vector<std::string>>(key, "a list of names");
    require(list.size() == n, "'" + key + "' must have " + std::to_string(n) + " names, got " + std::to_string(list.size()));
    return list;
  }
  Dtype dtype(const std::string& key, bool i8_too) const {
    const std::string& name = text(key);
    const std::optional<Dtype> type = dtype_of(name);
    if (type && (*type != Dtype::kI8 || i8_too)) return *type;
    fail("'" + key + "' must be " + (i8_too ? "u8, i8 or i16" : "u8 or i16") + ", got '" + name + "'");
  }
  const TensorView& tensor(const std::string& key, TensorView::Type type, const char* type_name, size_t n_dims) const {
    const std::string& name = text(key);
    const auto found = program_.tensors.find(name);
    require(found != program_.tensors.end(), "tensor '" + name + "' of '" + key + "' is not in the file");
    const TensorView& tensor = found->second;
    require(tensor.type == type, "tensor '" + name + "' must be " + type_name);
    require(tensor.shape.size() == n_dims, "tensor '" + name + "' must have " + std::to_string(n_dims) + " dimensions, got " +
                                               std::to_string(tensor.shape.size()));
    for (const int64_t n : tensor.shape) {
      require(n >= 1 && n <= (1 << 24), "tensor '" + name + "' has a dimension of " + std::to_string(n));
    }
    return tensor;
  }

 private:
  template <class T>
  const T& get(const std::string& key, const char* what) const {
    const auto found = spec_.find(key);
    require(found != spec_.end(), "key '" + key + "' is missing");
    const T* value = std::get_if<T>(&found->second);
    require(value != nullptr, "'" + key + "' must be " + what);
    return *value;
  }

  const OpSpec& spec_;
  const ProgramSpec& program_;
  std::string label_, kind_, out_;
};

std::string describe(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t n : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
  return text + "]";
}

void require_shape(const OpReader& reader, const char* what, const TensorView& tensor, std::vector<int64_t> expected) {
  reader.require(tensor.shape == expected, std::string(what) + " must have shape " + describe(expected) + ", got " +
                                               describe(tensor.shape));
}

// A level table [L or 1][channels], each row padded with zeros.
std::vector<TableRow> level_table(const OpReader& reader, const std::string& key, int channels, int n_levels) {
  const TensorView& tensor = reader.tensor(key, TensorView::Type::kI32, "int32", 2);
  const int64_t n_rows = tensor.shape[0];
  reader.require((n_rows == 1 || n_rows == n_levels) && tensor.shape[1] == channels,
                 "'" + key + "' must have shape [1, " + std::to_string(channels) + "] or [" + std::to_string(n_levels) + ", " +
                     std::to_string(channels) + "], got " + describe(tensor.shape));
  std::vector<TableRow> table(n_rows, TableRow(round_up(channels, kChannelAlign), 0));
  const auto* data = static_cast<const int32_t*>(tensor.data);
  for (auto& row : table) {
    std::copy(data, data + channels, row.begin());
    data += channels;
  }
  return table;
}

std::vector<TableRow> mult_table(const OpReader& reader, int channels, int n_levels) {
  std::vector<TableRow> table = level_table(reader, "mult", channels, n_levels);
  for (const auto& row : table) {
    for (int c = 0; c < channels; ++c) {
      reader.require(row[c] > 0, "mult of channel " + std::to_string(c) + " must be positive, got " + std::to_string(row[c]));
    }
  }
  return table;
}

// Proves that |acc + bias| < 2^31 for every input, output channel and level; returns the largest bound of |acc|.
int64_t prove_bound(const OpReader& reader, const Op& op) {
  const int64_t reach = op.conv.wide ? 32768 : 255;
  const int64_t per_channel = static_cast<int64_t>(op.weight.size()) / op.channels;
  int64_t worst = 0;
  for (int o = 0; o < op.channels; ++o) {
    int64_t sum = 0;
    for (int64_t i = 0; i < per_channel; ++i) sum += std::abs(static_cast<int>(op.weight[o * per_channel + i]));
    int64_t bias = 0;
    for (const auto& row : op.bias) bias = std::max(bias, std::abs(static_cast<int64_t>(row[o])));
    const int64_t bound = sum * reach + bias;
    reader.require(bound < (int64_t{1} << 31), "channel " + std::to_string(o) + " may overflow: sum|w| * " +
                                                   std::to_string(reach) + " + |b| = " + std::to_string(bound) +
                                                   ", must be below 2^31");
    worst = std::max(worst, sum * reach);
  }
  return worst;
}

// The part of a level table from channel `first` on, with what the kernels want added and behind it.
std::vector<TableRow> part_table(const Kernels& kernels, const ConvShape& shape, const std::vector<TableRow>& table, int first,
                                 const std::vector<int32_t>& more) {
  std::vector<TableRow> part;
  for (const TableRow& row : table) {
    TableRow out(round_up(shape.out_channels, kChannelAlign), 0);
    for (int o = 0; o < shape.out_channels; ++o) {
      out[o] = static_cast<int32_t>(static_cast<uint32_t>(row[first + o]) + static_cast<uint32_t>(more[o]));
    }
    out.resize(kernels.conv_table_length(shape));
    kernels.conv_table(shape, out.data());
    part.push_back(std::move(out));
  }
  return part;
}

// Makes the kernels' form of a convolution: as many parts of whole groups as can write their channels without touching others.
// A 1x1 convolution is one, since its kernels skip blocks of zeros, which is faster still.
void pack_parts(const Kernels& kernels, int64_t bound, Op* op) {
  int n_parts = op->conv.kernel == 1 && !op->conv.wide ? 1 : op->groups;
  while (op->groups % n_parts || (n_parts > 1 && op->channels / n_parts % kChannelAlign)) --n_parts;
  for (int p = 0; p < n_parts; ++p) {
    ConvPart part{op->conv, {}, 0, {}, {}};
    ConvShape& shape = part.conv;
    shape.in_channels /= n_parts;
    shape.out_channels /= n_parts;
    const std::vector<int8_t> mine = op->dense_weight(p, n_parts);
    kernels.conv_plan(&shape, mine.data(), bound);
    part.packed_bytes = kernels.conv_packed_bytes(shape);
    part.packed = allocate_aligned(part.packed_bytes);
    std::vector<int32_t> bias_shift(shape.out_channels);
    kernels.conv_pack(shape, mine.data(), part.packed.get(), bias_shift.data());
    const int first = p * shape.out_channels;
    part.bias = part_table(kernels, shape, op->bias, first, bias_shift);
    part.mult = part_table(kernels, shape, op->mult, first, std::vector<int32_t>(shape.out_channels, 0));
    op->parts.push_back(std::move(part));
  }
}

void load_conv(const OpReader& reader, bool depthwise, const Op& in, const std::vector<Op>& ops, int n_levels,
               const Kernels& kernels, Op* op) {
  std::set<std::string> keys{"weight", "bias", "mult", "stride", "type", "add"};
  if (!depthwise) keys.insert("groups");
  reader.only_keys(keys);
  const TensorView& weight = reader.tensor("weight", TensorView::Type::kI8, "int8", depthwise ? 3 : 4);
  const int64_t n_out = weight.shape[0], kernel = weight.shape[1];
  reader.require(n_out <= kMaxChannels, "at most " + std::to_string(kMaxChannels) + " channels, got " + std::to_string(n_out));
  reader.require(kernel == 3 || (kernel == 1 && !depthwise), "kernel must be " + std::string(depthwise ? "3" : "1 or 3") +
                                                                 ", got " + std::to_string(kernel));
  const int64_t groups = reader.has("groups") ? reader.integer("groups") : 1;
  reader.require(groups >= 1 && n_out % groups == 0 && in.channels % groups == 0,
                 "groups must divide " + std::to_string(in.channels) + " inputs and " + std::to_string(n_out) + " outputs, got " +
                     std::to_string(groups));
  const int64_t n_in = depthwise ? 1 : in.channels / groups;
  if (depthwise) require_shape(reader, "weight", weight, {in.channels, 3, 3});
  else require_shape(reader, "weight", weight, {n_out, kernel, kernel, n_in});
  reader.require(in.type != Dtype::kI16 || (kernel == 1 && !depthwise),
                 "its input '" + in.name + "' must be u8 or i8 (i16 only for kernel 1), got i16");
  const int64_t stride = reader.has("stride") ? reader.integer("stride") : 1;
  reader.require(stride == 1 || stride == 2, "stride must be 1 or 2, got " + std::to_string(stride));

  op->kind = OpKind::kConv;
  op->channels = static_cast<int>(n_out);
  op->pixel = round_up(op->channels, kChannelAlign);
  op->type = reader.dtype("type", true);
  op->scale = in.scale;
  if (stride == 2) op->scale.ups > 0 ? --op->scale.ups : ++op->scale.downs;
  op->conv = {in.channels, op->channels, static_cast<int>(kernel), static_cast<int>(stride), depthwise,
              in.type == Dtype::kI8, in.type == Dtype::kI16, in.pixel, false};
  if (op->in[1] >= 0) {
    const Op& add = ops[op->in[1]];
    reader.require(add.channels == op->channels && add.scale == op->scale,
                   "'add' ('" + add.name + "') must have the size and the " + std::to_string(op->channels) +
                       " channels of the result, got " + std::to_string(add.channels) + " channels");
  }
  op->bias = level_table(reader, "bias", op->channels, n_levels);
  op->mult = mult_table(reader, op->channels, n_levels);
  const auto* data = static_cast<const int8_t*>(weight.data);
  op->weight.assign(data, data + n_out * kernel * kernel * n_in);
  op->groups = static_cast<int>(groups);
  pack_parts(kernels, prove_bound(reader, *op), op);
}

void load_lookup(const OpReader& reader, const Op& in, Op* op) {
  reader.only_keys({"table", "type"});
  reader.require(in.type != Dtype::kI16, "its input '" + in.name + "' must be u8 or i8, got i16");
  op->kind = OpKind::kLookup;
  op->channels = in.channels;
  op->pixel = in.pixel;
  op->type = reader.dtype("type", true);
  op->scale = in.scale;
  reader.require(op->type != Dtype::kI16, "'type' must be u8 or i8, got 'i16'");
  const bool is_signed = op->type == Dtype::kI8;
  const TensorView& table =
      reader.tensor("table", is_signed ? TensorView::Type::kI8 : TensorView::Type::kU8, is_signed ? "int8" : "uint8", 2);
  reader.require((table.shape[0] == 1 || table.shape[0] == in.channels) && table.shape[1] == 256,
                 "table must have shape [1, 256] or [" + std::to_string(in.channels) + ", 256], got " + describe(table.shape));
  const auto* data = static_cast<const uint8_t*>(table.data);
  op->table.assign(data, data + table.shape[0] * 256);
  if (in.type != Dtype::kI8) return;
  for (auto row = op->table.begin(); row != op->table.end(); row += 256) std::rotate(row, row + 128, row + 256);
}

// A row [>= channels] as `fold` times the same channels.
void repeat(TableRow* row, int channels, int fold) {
  row->resize(static_cast<size_t>(channels) * fold);
  for (size_t i = channels; i < row->size(); ++i) (*row)[i] = (*row)[i - channels];
}

void load_scale(const OpReader& reader, const Op& in, int n_levels, Op* op) {
  reader.only_keys({"mult", "bias", "type"});
  op->kind = OpKind::kScale;
  op->channels = in.channels;
  op->pixel = round_up(in.channels, kChannelAlign);
  op->type = reader.dtype("type", true);
  op->scale = in.scale;
  op->bias = level_table(reader, "bias", in.channels, n_levels);
  op->mult = mult_table(reader, in.channels, n_levels);
  int64_t worst_mult = 0, worst_bias = 0;
  for (const auto& row : op->mult) worst_mult = std::max<int64_t>(worst_mult, *std::max_element(row.begin(), row.end()));
  for (const auto& row : op->bias) {
    for (const int64_t bias : row) worst_bias = std::max(worst_bias, std::abs(bias));
  }
  op->narrow = worst_mult < (1 << 15) && (worst_mult << 15) + worst_bias < (int64_t{1} << 31);
  if (in.pixel != in.channels || in.channels >= kChannelAlign) return;
  // A vector holds several pixels of so few channels.
  op->fold = kChannelAlign;
  op->pixel = in.channels;
  for (auto& row : op->bias) repeat(&row, in.channels, op->fold);
  for (auto& row : op->mult) repeat(&row, in.channels, op->fold);
}

void load_phase(const OpReader& reader, const Op& in, Op* op) {
  reader.only_keys({"table"});
  const TensorView& table = reader.tensor("table", TensorView::Type::kU8, "uint8", 3);
  reader.require(table.shape[0] == 2 && table.shape[1] <= kMaxPlanes && table.shape[2] <= kMaxPhasePeriod,
                 "table must have shape [2, planes up to 64, period up to 4096], got " + describe(table.shape));
  op->kind = OpKind::kPhase;
  op->n_planes = static_cast<int>(table.shape[1]);
  op->period = static_cast<int>(table.shape[2]);
  op->channels = op->pixel = in.channels + 2 * op->n_planes;
  op->scale = in.scale;
  const auto* data = static_cast<const uint8_t*>(table.data);
  op->table.assign(data, data + 2 * op->n_planes * op->period);
}

void load_shuffle(const OpReader& reader, bool inverse, const Op& in, Op* op) {
  reader.only_keys({"factor"});
  reader.require(reader.integer("factor") == 2, "factor must be 2");
  op->scale = in.scale;
  if (inverse) {
    reader.require(in.channels % 4 == 0, "its input must have a multiple of 4 channels, got " + std::to_string(in.channels));
    op->kind = OpKind::kPixelShuffle;
    op->channels = in.channels / 4;
    ++op->scale.ups;
  } else {
    op->kind = OpKind::kPixelUnshuffle;
    op->channels = in.channels * 4;
    op->scale.ups > 0 ? --op->scale.ups : ++op->scale.downs;
  }
  op->type = in.type;
  op->pixel = op->channels;
}

void load_bicubic(const OpReader& reader, bool up, const Op& in, Op* op) {
  reader.only_keys({"type"});
  op->kind = up ? OpKind::kBicubicUp2 : OpKind::kBicubicDown2;
  op->type = reader.dtype("type", false);
  op->channels = in.channels;
  op->pixel = in.pixel;
  op->scale = in.scale;
  if (up) ++op->scale.ups;
  else op->scale.ups > 0 ? --op->scale.ups : ++op->scale.downs;
}

void load_residual(const OpReader& reader, const Op& d, const Op& base, Op* op) {
  reader.only_keys({});
  reader.require(d.type == Dtype::kI16, "its first input '" + d.name + "' must be i16");
  reader.require(base.type != Dtype::kI8, "its second input '" + base.name + "' must be u8 or i16, got i8");
  reader.require(d.channels == base.channels, "both inputs must have as many channels, got " + std::to_string(d.channels) +
                                                  " and " + std::to_string(base.channels));
  reader.require(d.scale.ups - d.scale.downs == base.scale.ups - base.scale.downs, "both inputs must have the same scale");
  reader.require(d.scale.ups <= 1 && base.scale.ups <= 1, "its inputs may be at most 1 pixel larger than the result");
  op->kind = OpKind::kResidual;
  op->channels = op->pixel = d.channels;
  op->scale.requested = true;
}

}  // namespace

void FreeAligned::operator()(uint8_t* p) const { ::operator delete[](p, std::align_val_t{64}); }

AlignedBytes allocate_aligned_raw(size_t n_bytes) {
  return AlignedBytes(static_cast<uint8_t*>(::operator new[]((n_bytes + 63) / 64 * 64, std::align_val_t{64})));
}

AlignedBytes allocate_aligned(size_t n_bytes) {
  AlignedBytes bytes = allocate_aligned_raw(n_bytes);
  std::memset(bytes.get(), 0, (n_bytes + 63) / 64 * 64);
  return bytes;
}

std::vector<int8_t> Op::dense_weight(int part, int n_parts) const {
  const size_t n_in = conv.depthwise ? 1 : conv.in_channels / groups, n_taps = weight.size() / n_in / n_parts;
  const size_t n_dense = n_in * (groups / n_parts);
  std::vector<int8_t> dense(n_taps * n_dense, 0);
  for (size_t tap = 0; tap < n_taps; ++tap) {
    const size_t group = tap / (n_taps * n_parts / groups);  // of this part's
    const auto from = weight.begin() + (part * n_taps + tap) * n_in;
    std::copy(from, from + n_in, dense.begin() + tap * n_dense + group * n_in);
  }
  return dense;
}

size_t Op::bytes() const {
  size_t n = weight.size() + table.size();
  for (const std::vector<TableRow>* rows : {&bias, &mult}) {
    for (const TableRow& row : *rows) n += row.size() * sizeof row[0] * (parts.empty() ? 1 : 2);  // and in the parts
  }
  for (const ConvPart& part : parts) n += part.packed_bytes;
  return n;
}

int Scale::apply(int n) const {
  for (int i = 0; i < downs; ++i) n = (n + 1) / 2;
  return n << ups;
}

Program::Program(const ProgramSpec& spec, const Kernels& kernels) : kernels_(&kernels) {
  auto require = [](bool ok, const std::string& message) {
    if (!ok) throw Error(ErrorCode::kModel, "program: " + message);
  };
  require(spec.inputs.size() == 1, "one input expected, got " + std::to_string(spec.inputs.size()));
  require(spec.n_levels >= 1 && spec.n_levels <= kMaxLevels, "1 to " + std::to_string(kMaxLevels) + " levels expected, got " +
                                                                 std::to_string(spec.n_levels));
  require(!spec.ops.empty() && spec.ops.size() <= kMaxOps,
          "1 to " + std::to_string(kMaxOps) + " ops expected, got " + std::to_string(spec.ops.size()));
  n_levels_ = static_cast<int>(spec.n_levels);
  const auto& [input, given] = *spec.inputs.begin();
  const int64_t channels = given.channels;
  require(channels >= 1 && channels <= kMaxChannels, "input '" + input + "' must have 1 to " +
                                                         std::to_string(kMaxChannels) + " channels, got " +
                                                         std::to_string(channels));
  const std::optional<Dtype> type = dtype_of(given.type);
  require(type.has_value(), "type of input '" + input + "' must be u8, i8 or i16, got '" + given.type + "'");
  Op first{};
  first.kind = OpKind::kInput;
  first.name = input;
  first.type = *type;
  first.channels = first.pixel = static_cast<int>(channels);
  by_name_[input] = 0;
  ops_.push_back(std::move(first));
  for (const OpSpec& op : spec.ops) add_op(op, spec);

  const auto found = by_name_.find(spec.output);
  require(found != by_name_.end(), "output '" + spec.output + "' is not produced");
  Op& result = ops_[found->second];
  Scale scale = result.scale.requested ? ops_[result.in[0]].scale : result.scale;
  scale_log2_ = scale.ups - scale.downs;
  Op store{};
  store.kind = OpKind::kStore;
  store.in[0] = found->second;
  store.channels = result.channels;
  store.pixel = result.channels;
  store.type = result.type;
  store.scale.requested = true;
  result.readers.push_back(static_cast<int>(ops_.size()));
  ops_.push_back(std::move(store));
  for (size_t i = 0; i + 1 < ops_.size(); ++i) {
    require(!ops_[i].readers.empty(), "'" + ops_[i].name + "' is produced but never used");
  }
  find_passing();
  measure_reach();
}

void Program::find_passing() {
  for (size_t i = 0; i < ops_.size(); ++i) {
    if (ops_[i].kind != OpKind::kConv || ops_[i].readers.size() != 1) continue;
    Op& reader = ops_[ops_[i].readers[0]];
    ops_[i].passing = reader.kind == OpKind::kConv && reader.conv.kernel == 1 && reader.conv.stride == 1 &&
                      reader.in[1] != static_cast<int>(i);
    const bool plain = ops_[i].type == Dtype::kU8 && ops_[i].in[1] < 0;
    const bool whole = ops_[i].parts.size() == 1 && reader.parts.size() == 1;
    if (ops_[i].passing && plain && whole && kernels_->conv_passes(ops_[i].parts[0].conv, reader.parts[0].conv)) {
      ops_[i].parts[0].conv.own_out = reader.parts[0].conv.own_in = true;
    }
  }
}

void Program::measure_reach() {
  // A value is the same for an image moved by a multiple of 2^downs pixels; a phase table, if it moves by whole periods.
  int64_t align = 1;
  for (const Op& op : ops_) {
    int64_t step = int64_t{1} << op.scale.downs;
    if (op.kind == OpKind::kPhase) step *= op.period / std::gcd(op.period, 1 << op.scale.ups);
    align = std::lcm(align, step);
    if (align > kMaxImageSide) align = int64_t{1} << 30;  // no window but the whole image
  }
  align_ = static_cast<int>(align);
  if (align > kMaxImageSide) {
    halo_ = align_;
    return;
  }
  // One unit of the image, far from its borders, and what the result over it reads.
  const int unit = align_, at = (kMaxImageSide / unit + 1) * unit;
  std::vector<Range> need(ops_.size(), Range{INT_MAX, INT_MIN});
  const Op& result = ops_[ops_.back().in[0]];
  const Scale scale = result.scale.requested ? ops_[result.in[0]].scale : result.scale;
  need.back() = {scale.apply(at), scale.apply(at + unit)};
  for (size_t i = ops_.size() - 1; i > 0; --i) {
    for (int which = 0; which < 2; ++which) {
      if (ops_[i].in[which] < 0) continue;
      const Range r = input_range(ops_[i], which, need[i]);
      Range& input = need[ops_[i].in[which]];
      input = {std::min(input.lo, r.lo), std::max(input.hi, r.hi)};
    }
  }
  const int reach = std::max({at - need[0].lo, need[0].hi - at - unit, 0});
  halo_ = round_up(reach, unit);
}

void Program::add_op(const OpSpec& spec, const ProgramSpec& program) {
  const OpReader reader(spec, program, ops_.size() - 1);
  const std::string& kind = reader.kind();
  reader.require(!reader.out().empty(), "'out' is empty");
  reader.require(!by_name_.count(reader.out()), "the name is already taken");
  Op op{};
  op.name = reader.out();
  auto value_of = [&](const std::string& name) {
    const auto found = by_name_.find(name);
    reader.require(found != by_name_.end(), "'" + name + "' is used before it is produced");
    reader.require(!ops_[found->second].scale.requested, "the result of residual ('" + name + "') can only be the output");
    return found->second;
  };
  const bool is_residual = kind == "residual";
  const auto& inputs = reader.names("in", is_residual ? 2 : 1);
  op.in[0] = value_of(inputs[0]);
  if (is_residual) op.in[1] = value_of(inputs[1]);
  if ((kind == "conv" || kind == "depthwise") && reader.has("add")) op.in[1] = value_of(reader.text("add"));
  const Op& in = ops_[op.in[0]];

  if (kind == "conv" || kind == "depthwise") {
    load_conv(reader, kind == "depthwise", in, ops_, n_levels_, *kernels_, &op);
  } else if (kind == "scale") {
    load_scale(reader, in, n_levels_, &op);
  } else if (kind == "lookup") {
    load_lookup(reader, in, &op);
  } else if (kind == "pixel_shuffle" || kind == "pixel_unshuffle") {
    load_shuffle(reader, kind == "pixel_shuffle", in, &op);
  } else if (is_residual) {
    load_residual(reader, in, ops_[op.in[1]], &op);
  } else if (kind == "phase" || kind == "bicubic_up2" || kind == "bicubic_down2") {
    reader.require(in.type == Dtype::kU8, "its input '" + in.name + "' must be u8");
    if (kind == "phase") load_phase(reader, in, &op);
    else load_bicubic(reader, kind == "bicubic_up2", in, &op);
  } else {
    reader.fail("unknown operation '" + kind + "'");
  }
  reader.require(op.channels <= kMaxChannels, "at most " + std::to_string(kMaxChannels) + " channels, got " +
                                                  std::to_string(op.channels));
  reader.require(op.scale.ups <= 4 && op.scale.downs <= 8, "too many changes of scale");

  const int index = static_cast<int>(ops_.size());
  for (const int input : op.in) {
    if (input >= 0 && (ops_[input].readers.empty() || ops_[input].readers.back() != index)) {
      ops_[input].readers.push_back(index);
    }
  }
  bytes_ += op.bytes();
  reader.require(bytes_ <= kMaxProgramBytes, "the program takes " + std::to_string(bytes_) + " bytes up to here, at most " +
                                                 std::to_string(kMaxProgramBytes) + " are allowed");
  by_name_[op.name] = index;
  ops_.push_back(std::move(op));
}

int64_t Program::macs(int height, int width) const {
  if (height < 1 || width < 1 || height > kMaxImageSide || width > kMaxImageSide) {
    throw Error(ErrorCode::kValue, "height and width must be 1 to " + std::to_string(kMaxImageSide) + ", got " +
                                       std::to_string(height) + " and " + std::to_string(width));
  }
  int64_t total = 0;
  for (const Op& op : ops_) {
    if (op.kind == OpKind::kConv) {
      total += static_cast<int64_t>(op.weight.size()) * op.scale.apply(height) * op.scale.apply(width);
    }
  }
  return total;
}

}  // namespace fastcodec

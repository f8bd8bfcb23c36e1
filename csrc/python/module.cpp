// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The Python module fastcodec._core. The public texts are in the Python files that call it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/crc32c.h"
#include "common/error.h"
#include "common/parallel.h"
#include "kernels/dispatch.h"
#include "python/bindings.h"

namespace py = pybind11;

namespace fastcodec {
namespace {

const char* python_class(ErrorCode code) {
  switch (code) {
    case ErrorCode::kFormat: return "FormatError";
    case ErrorCode::kTruncated: return "TruncatedError";
    case ErrorCode::kChecksum: return "ChecksumError";
    case ErrorCode::kLimit: return "LimitError";
    case ErrorCode::kModel: return "ModelError";
    case ErrorCode::kBackend: return "BackendError";
    default: return "Error";
  }
}

void set_python_error(const Error& error) {
  if (error.code() == ErrorCode::kType) return py::set_error(PyExc_TypeError, error.what());
  if (error.code() == ErrorCode::kValue) return py::set_error(PyExc_ValueError, error.what());
  py::set_error(py::module_::import("fastcodec.errors").attr(python_class(error.code())), error.what());
}

// A borrowed C-contiguous buffer of bytes: bytes, bytearray, memoryview, NumPy.
class ByteView {
 public:
  explicit ByteView(const py::object& object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  }
  ~ByteView() { PyBuffer_Release(&view_); }
  ByteView(const ByteView&) = delete;
  ByteView& operator=(const ByteView&) = delete;
  const uint8_t* data() const { return static_cast<const uint8_t*>(view_.buf); }
  size_t size() const { return static_cast<size_t>(view_.len); }

 private:
  Py_buffer view_;
};

template <uint32_t (*kFunction)(const uint8_t*, size_t, uint32_t)>
uint32_t crc_of_buffer(const py::object& buffer, uint32_t seed) {
  const ByteView view(buffer);
  const py::gil_scoped_release unlocked;
  return kFunction(view.data(), view.size(), seed);
}

py::dict build_info() {
  py::dict info;
  info["version"] = FASTCODEC_VERSION;
  info["compiler"] = FASTCODEC_COMPILER;
  info["isas"] = FASTCODEC_ISAS;
  info["cuda"] = FASTCODEC_CUDA_VERSION;
  info["cuda_archs"] = FASTCODEC_CUDA_ARCHS;
  return info;
}

}  // namespace
}  // namespace fastcodec

PYBIND11_MODULE(_core, m) {
  using namespace fastcodec;
  m.doc() = "Native core of fastcodec.";
  m.attr("__version__") = FASTCODEC_VERSION;
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      set_python_error(error);
    }
  });

  m.def("crc32c", &crc_of_buffer<crc32c>, py::arg("buffer"), py::arg("seed") = 0,
        "CRC-32C of a buffer; seed = the CRC so far.");
  m.def("crc32c_table", &crc_of_buffer<crc32c_table>, py::arg("buffer"), py::arg("seed") = 0,
        "The same without the CPU's own instruction, for tests.");
  m.def(
      "backends",
      [] {
        std::vector<std::tuple<std::string, bool, std::string>> list;
        for (const BackendStatus& status : backends()) list.emplace_back(status.name, status.available, status.reason);
        return list;
      },
      "Backends, best first: (name, available, reason why not).");
  m.def("active_backend", [] { return std::string(find_kernels().name); }, "Name of the CPU backend in use; for tests.");
  m.def(
      "run_peak",
      [](const std::string& backend, int64_t rounds) {
        if (rounds < 1) throw Error(ErrorCode::kValue, "rounds must be at least 1, got " + std::to_string(rounds));
        const py::gil_scoped_release unlocked;
        return run_peak(backend, rounds);
      },
      py::arg("backend"), py::arg("rounds"),
      "A loop of nothing but the int8 products of a CPU backend, to be timed; returns the number of products.");
  m.def("get_num_threads", &num_threads, "Threads used where a call does not say.");
  m.def(
      "set_num_threads",
      [](int n) {
        if (n < 1) throw Error(ErrorCode::kValue, "n must be at least 1, got " + std::to_string(n));
        set_num_threads(n);
      },
      py::arg("n"), "Set the number of threads used where a call does not say.");
  m.def("build_info", &build_info, "Versions and options this module was built with.");
  bind_program(m);
  bind_rans(m);
  bind_tile(m);
}

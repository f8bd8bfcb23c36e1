// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/dispatch.h"

#include <cstdlib>

#if defined(FASTCODEC_BUILT_AVXVNNI) || defined(FASTCODEC_BUILT_AMX)
#include <cpuid.h>
#endif
#if defined(FASTCODEC_BUILT_AMX) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "common/error.h"
#include "kernels/cuda/device.h"
#include "kernels/reference.h"

namespace fastcodec {

#if defined(FASTCODEC_BUILT_AMX)
namespace amx { extern const Kernels kernels; int64_t peak_macs(int64_t rounds); }
#endif
#if defined(FASTCODEC_BUILT_AVX512)
namespace avx512 { extern const Kernels kernels; int64_t peak_macs(int64_t rounds); }
#endif
#if defined(FASTCODEC_BUILT_AVXVNNI)
namespace avxvnni { extern const Kernels kernels; int64_t peak_macs(int64_t rounds); }
#endif
#if defined(FASTCODEC_BUILT_AVX2)
namespace avx2 { extern const Kernels kernels; int64_t peak_macs(int64_t rounds); }
#endif
namespace scalar { extern const Kernels kernels; int64_t peak_macs(int64_t rounds); }

namespace {

struct Entry {
  const Kernels* kernels;
  int64_t (*peak_macs)(int64_t rounds);
  bool available;
  const char* needs;
};

#if defined(FASTCODEC_BUILT_AVXVNNI)
// Not every compiler's __builtin_cpu_supports knows it.
bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#endif

#if defined(FASTCODEC_BUILT_AVX512) || defined(FASTCODEC_BUILT_AMX)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("bmi2");
}
#endif

#if defined(FASTCODEC_BUILT_AMX)
// The CPU has int8 tiles, the system saves them, and it lets this process use them: Linux gives each process the room for
// their state only when it asks.
bool has_amx() {
#if defined(__linux__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return false;  // no xgetbv
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d >> 24 & 3) != 3) return false;
  unsigned low = 0, high = 0;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr int kTileData = 18, kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h
  return (low >> (kTileData - 1) & 3) == 3 && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

// Best first.
const std::vector<Entry>& entries() {
  static const std::vector<Entry> list = {
#if defined(FASTCODEC_BUILT_AMX)
      {&amx::kernels, amx::peak_macs, has_avx512() && has_amx(), "this CPU lacks AMX for int8, or the system does not let this process use it"},
#endif
#if defined(FASTCODEC_BUILT_AVX512)
      {&avx512::kernels, avx512::peak_macs, has_avx512(), "this CPU lacks AVX-512 F, BW, VL, DQ or VNNI"},
#endif
#if defined(FASTCODEC_BUILT_AVXVNNI)
      {&avxvnni::kernels, avxvnni::peak_macs, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && has_avx_vnni(),
       "this CPU lacks AVX-VNNI"},
#endif
#if defined(FASTCODEC_BUILT_AVX2)
      {&avx2::kernels, avx2::peak_macs, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"), "this CPU lacks AVX2 or BMI2"},
#endif
      {&scalar::kernels, scalar::peak_macs, true, ""},
      {&reference::kernels, scalar::peak_macs, true, ""},
  };
  return list;
}

std::string environment_backend() {
  static const std::string name = [] {
    const char* text = std::getenv("FASTCODEC_BACKEND");
    return std::string(text ? text : "");
  }();
  return name;
}

}  // namespace

std::vector<BackendStatus> backends() {
  std::vector<BackendStatus> list;
  for (const Entry& entry : entries()) {
    list.push_back({entry.kernels->name, entry.available, entry.available ? "" : entry.needs});
  }
  const std::string reason = cuda::unavailable_reason();
  list.push_back({"cuda", reason.empty(), reason});
  return list;
}

namespace {

const Entry& find_entry(const std::string& name) {
  const std::string from_environment = name.empty() ? environment_backend() : "";
  const std::string& wanted = name.empty() ? from_environment : name;
  std::string valid;
  for (const Entry& entry : entries()) {
    if (!entry.available) continue;
    if (wanted.empty() || wanted == entry.kernels->name) return entry;
    valid += (valid.empty() ? "" : ", ") + std::string(entry.kernels->name);
  }
  std::string why = "no such backend";
  for (const Entry& entry : entries()) {
    if (wanted == entry.kernels->name) why = entry.needs;
  }
  const char* source = name.empty() ? "FASTCODEC_BACKEND" : "backend";
  throw Error(ErrorCode::kBackend, std::string(source) + " '" + wanted + "': " + why + "; use one of: " + valid);
}

}  // namespace

const Kernels& find_kernels(const std::string& name) { return *find_entry(name).kernels; }

int64_t run_peak(const std::string& name, int64_t rounds) { return find_entry(name).peak_macs(rounds); }

}  // namespace fastcodec

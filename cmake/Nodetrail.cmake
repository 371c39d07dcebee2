# SPDX-License-Identifier: Apache-2.0
# nt_library(NAME SRCS … DEPS …)   a static library with the house's warnings
# nt_program(NAME SRCS … DEPS …)   an executable, into bin/
# nt_test(NAME SRCS … DEPS …)      a GoogleTest binary, its cases listed by ctest with LABEL: "unit" unless
#                                  given; root and e2e tests run one at a time
# nt_fuzzer(NAME SRCS … DEPS … PARSERS …)   a libFuzzer binary, fuzz and coverage presets only. Its seeds are
#                                  tests/fuzz/corpus/ and its name; PARSERS are the sources that it is there to
#                                  reach: `./dev fuzz --coverage` reads them from fuzzers/ in the build folder

include_guard(GLOBAL)

add_library(nt_options INTERFACE)
target_compile_features(nt_options INTERFACE cxx_std_20)
target_include_directories(nt_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_compile_options(nt_options INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wnon-virtual-dtor -Wold-style-cast
  -Wcast-align -Woverloaded-virtual -Wnull-dereference -Wdouble-promotion -Wformat=2 -Wimplicit-fallthrough
  -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports false null dereferences and overflows in inlined library code when it optimises.
  target_compile_options(nt_options INTERFACE -Wno-null-dereference -Wno-restrict -Wduplicated-cond -Wlogical-op)
endif()
target_compile_options(nt_options INTERFACE -fstack-protector-strong -D_GLIBCXX_ASSERTIONS)
target_link_options(nt_options INTERFACE -Wl,-z,relro,-z,now,--as-needed)

if(NODETRAIL_SANITIZE)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # The sanitizers' checks split what GCC's flow analysis needs to see whole.
    target_compile_options(nt_options INTERFACE -Wno-maybe-uninitialized)
  endif()
  add_compile_options(-fsanitize=${NODETRAIL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${NODETRAIL_SANITIZE})
  if(NODETRAIL_SANITIZE STREQUAL "thread")
    add_compile_options("SHELL:-include ${PROJECT_SOURCE_DIR}/cmake/tsan_prefix.h")
  endif()
endif()
if(NODETRAIL_COVERAGE)
  add_compile_options(-fprofile-instr-generate -fcoverage-mapping)
  add_link_options(-fprofile-instr-generate -fcoverage-mapping)
endif()

function(nt_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SRCS})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE nt_options)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
endfunction()

function(nt_program name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} nt_options)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

function(nt_test name)
  if(NOT NODETRAIL_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SRCS;DEPS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main nt_options)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  target_compile_definitions(${name} PRIVATE NT_SOURCE_DIR="${PROJECT_SOURCE_DIR}" NT_BINARY_DIR="${CMAKE_BINARY_DIR}")
  if(ARG_LABEL STREQUAL "unit")
    if(NOT TARGET unit_tests)
      add_custom_target(unit_tests)  # what the sanitizer presets build
    endif()
    add_dependencies(unit_tests ${name})
  endif()
  set(serial)
  if(NOT ARG_LABEL STREQUAL "unit")
    set(serial RUN_SERIAL TRUE)  # they measure, count, and load probes
  endif()
  gtest_discover_tests(${name} TEST_PREFIX "${name}."
    PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT} ${serial} DISCOVERY_TIMEOUT 60)
endfunction()

function(nt_fuzzer name)
  if(NOT NODETRAIL_FUZZ)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS;PARSERS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} nt_options)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  string(REGEX REPLACE "^nt_(.*)_fuzzer$" "\\1" short ${name})
  if(NOT IS_DIRECTORY ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${short} OR NOT ARG_PARSERS)
    message(FATAL_ERROR "${name} needs seeds in tests/fuzz/corpus/${short}, and PARSERS")
  endif()
  set(parsers "")
  foreach(parser ${ARG_PARSERS})
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${parser})
      message(FATAL_ERROR "${name}: PARSERS: no file ${parser} here")
    endif()
    file(RELATIVE_PATH path ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/${parser})
    string(APPEND parsers "${path}\n")
  endforeach()
  file(WRITE ${CMAKE_BINARY_DIR}/fuzzers/${short} "${parsers}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

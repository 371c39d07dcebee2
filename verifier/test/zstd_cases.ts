// SPDX-License-Identifier: Apache-2.0
//
// Frames of the reference implementation: without and with checksum, and one of a single repeated byte.
export const zstdUnpackCases = [
  {
    frame:
      'KLUv/SAXZQAAMGhlbGxvIAEAmUsR',
    size: 23,
    digest: 'eac13dc78da3f79858440011e4db4107e9301314511e6d0073320b14c535b824',
  },
  {
    frame:
      'KLUv/WSMLVUMANYVMRaQKemoR8UGFNLdidySTFKmZAB/1wpcNQAmACcANEuTp5BC2tbNJvM8qc3Qu0w163ArcAAEIIqEBMFISByK' +
      'gwJhJA4DiSFggBiHEWAwZBQFBIjk91Ti/vIpovuVnp6SIp97jU60W35Nf5phzppPHumwWmrbarU9JZazKheOObORcsRkeeu9XxS6' +
      '4s6mJo+sqIYfckPcdEo2mY+sFF3IAYUa3co8EdnUPjTrPCJnoZ3VGRHNaU5ysr7o3tREKsUk9fHKHTWBQagx+P1/A9E3qsUSSPAY' +
      'gv+/YxGCKnvOY51foIiDqIjmBcBlaj+zvwVA4wIEIJOId/7y1yYBSK4AAKAAgJ0CSO1P9leAAAAYpyBDhOUff67+ctcXkkqgCJiI' +
      'imBinnyu/vJPDaIYRg4clWjS4K0+vzaZAEQAgBmWD+EYwgtubPhFzvElzvF8RSVqQHRg1mfiOh2drk6nSkdVndHkRUm+ociLgvx5' +
      'XEOOF9X4hhgvSiw+RytqNvxSJ8s53jJExxWAqgIkbQcQ',
    size: 11916,
    digest: 'e344bf479d40ff0ffd06d45cd7d03d2c09c67b53c5671b0b0e18340bba6f5aca',
  },
  {
    frame:
      'KLUv/aRADQMAVAAAEAAAAQD7/znAAgNqCADE6XRw',
    size: 200000,
    digest: '4cbbd9be0cba685835755f827758705db5a413c5494c34262cd25946a73e7582',
  },
];

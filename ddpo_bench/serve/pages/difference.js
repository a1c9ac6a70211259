/* What a run changed in a picture: its difference from the pretrained model's, around mid-grey. */

export const FACTOR = 4;

/** 128 + FACTOR * (picture - reference) for each colour of each pixel; both ImageData of one size. */
export function difference(picture, reference) {
  const made = new ImageData(picture.width, picture.height); // clamps and rounds
  for (let i = 0; i < made.data.length; i += 1)
    made.data[i] = i % 4 === 3 ? 255 : 128 + FACTOR * (picture.data[i] - reference.data[i]);
  return made;
}

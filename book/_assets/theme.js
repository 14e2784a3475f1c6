// What the theme leaves to mend for those who hear a page or speak to it.
document.addEventListener("DOMContentLoaded", () => {
  // A button's name is what it shows: the theme gives these another.
  for (const button of document.querySelectorAll(".search-button-field, .theme-switch-button")) button.removeAttribute("aria-label");
  const sidebar = document.querySelector(".bd-sidebar-primary");
  sidebar?.setAttribute("role", "region");
  sidebar?.setAttribute("aria-label", "The book");
});

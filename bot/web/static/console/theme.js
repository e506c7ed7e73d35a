// Light or dark, as the reader chooses; without a choice, as the system does.

export function startTheme() {
    const button = document.getElementById("theme");
    button.hidden = false;
    button.addEventListener("click", () => {
        const root = document.documentElement;
        const isDark = root.dataset.theme
            ? root.dataset.theme === "dark"
            : matchMedia("(prefers-color-scheme: dark)").matches;
        root.dataset.theme = isDark ? "light" : "dark";
        document.cookie = `console-theme=${root.dataset.theme}; path=/staff; max-age=31536000; samesite=lax`;
    });
}
